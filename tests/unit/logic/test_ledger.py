"""Acts: performed, in force, on record, and learned of by other nodes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from prometheus_client import CollectorRegistry

from imserver.core.acts import (
    Act,
    ActKind,
    Fact,
    KeyReplaced,
    RecordedAct,
    RobotEnded,
    TokenEnded,
    key_fingerprint,
)
from imserver.core.audit_settings import AuditSettings
from imserver.core.model import Enrolment, RobotRecord
from imserver.core.settings import RetentionSettings
from imserver.core.warrant import Warrant
from imserver.data.memory.store import MemoryStore
from imserver.logic.ledger import Ledger
from imserver.logic.metrics import AuditMetrics
from imserver.logic.standing import Standing
from imserver.protocol.errors import CloseCode
from imserver.protocol.names import RobotName
from tests.unit.logic.hand_clock import CountedIds, HandClock
from tests.until import PATIENCE_S

R1 = RobotName("r1")
OLD, NEW = b"o" * 32, b"n" * 32
IDS = CountedIds()
"""One source for all nodes: an act of an id that was performed is not performed again."""


class Waiting:
    """A spool that holds some acts."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)

    async def hand_over(self, perform: Callable[[Sequence[Act]], Awaitable[object]]) -> None:
        if self.acts:
            await perform(self.acts)
            self.acts.clear()


def ledger_on(store: MemoryStore, clock: HandClock) -> Ledger:
    metrics = AuditMetrics(CollectorRegistry())
    return Ledger(store.administration, Standing(clock), metrics=metrics, clock=clock, ids=IDS)


def end_of_token(clock: HandClock) -> Act:
    change = TokenEnded(clock.ms + 10_000)
    return Act("a", clock.ms, "boss", ActKind.REVOKED, R1, "t", {}, change)


async def test_what_waits_in_the_spool_is_in_force_before_the_doors_open() -> None:
    clock = HandClock()
    ledger = ledger_on(MemoryStore(), clock)
    await ledger.begin(Waiting(end_of_token(clock)), RetentionSettings())
    ending = ledger.standing.ending(Warrant(R1, clock.ms, token_id="t"))
    assert ending is not None and ending.code is CloseCode.TOKEN_ENDED


async def test_what_was_revoked_is_in_force_after_a_restart() -> None:
    clock, store = HandClock(), MemoryStore()
    revoked = Act("b", clock.ms, "boss", ActKind.ROBOT_REVOKED, R1, None, {}, RobotEnded())
    await ledger_on(store, clock).perform([end_of_token(clock), revoked])
    again = ledger_on(store, clock)
    await again.begin(Waiting(), RetentionSettings())
    assert again.standing.ending(Warrant(R1, clock.ms)) is not None
    assert again.standing.ending(Warrant(R1, clock.ms + 1)) is None
    assert again.standing.ending(Warrant(R1, clock.ms + 1, token_id="t")) is not None


async def test_a_node_learns_what_another_one_revoked_in_the_store_they_share() -> None:
    clock, store, ended = HandClock(), MemoryStore(), asyncio.Event()
    one, other = ledger_on(store, clock), ledger_on(store, clock)
    other.standing.watch(ended.set)
    async with running(other), asyncio.timeout(PATIENCE_S):
        await one.perform([end_of_token(clock)])
        await ended.wait()
    assert other.standing.ending(Warrant(R1, clock.ms, token_id="t")) is not None


@contextlib.asynccontextmanager
async def running(ledger: Ledger) -> AsyncIterator[None]:
    """Let a ledger look around in a store that it shares."""
    look = asyncio.ensure_future(ledger.run(Waiting(), AuditSettings(), shares_store=True))
    yield
    look.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await look


async def test_a_node_learns_of_all_keys_that_another_one_replaced_in_the_store_they_share() -> (
    None
):
    clock, store = HandClock(), MemoryStore()
    one, other = ledger_on(store, clock), ledger_on(store, clock)
    await other.begin(Waiting(), RetentionSettings())
    robots = [RobotName(f"r{number}") for number in range(500)]  # more than are read together
    for robot in robots:
        await enrol(store, one, robot)
    proven = [Warrant(robot, clock.ms) for robot in robots]
    clock.ms += 3_600_000  # told late: it was cut off from the store
    await one.perform([replaced(clock, robot) for robot in robots])
    since = [Warrant(robot, clock.ms + 1) for robot in robots]
    clock.ms += 3_600_000
    ended: set[RobotName] = set()
    other.standing.watch(lambda: ended.update(w.robot for w in proven if is_over(other, w)))
    async with running(other), asyncio.timeout(PATIENCE_S):
        while ended != {*robots}:
            await asyncio.sleep(0)
    assert not any(is_over(other, warrant) for warrant in since)


async def test_a_key_that_was_replaced_stays_so_after_a_restart() -> None:
    clock, store = HandClock(), MemoryStore()
    one = ledger_on(store, clock)
    await enrol(store, one, R1)
    await one.perform([replaced(clock, R1), end_of_token(clock)])
    clock.ms += 1
    again = ledger_on(store, clock)
    await again.begin(Waiting(), RetentionSettings())
    assert is_over(again, Warrant(R1, clock.ms - 1, key=key_fingerprint(OLD)))
    assert not is_over(again, Warrant(R1, clock.ms - 1, key=key_fingerprint(NEW)))


async def test_a_key_that_was_replaced_is_learned_of_once() -> None:
    clock, store, heard = HandClock(), MemoryStore(), list[int]()
    one, other = ledger_on(store, clock), ledger_on(store, clock)
    await enrol(store, one, R1)
    await one.perform([replaced(clock, R1)])
    await other.begin(Waiting(), RetentionSettings())
    other.standing.watch(lambda: heard.append(1))
    async with running(other), asyncio.timeout(PATIENCE_S):
        clock.ms += 1
        await one.perform([end_of_token(clock)])
        while not heard:
            await asyncio.sleep(0)
    old = key_fingerprint(OLD)
    assert not is_over(other, Warrant(R1, clock.ms, key=old)), "it was the key once more"
    assert len(heard) == 1


async def test_acts_that_were_looked_at_are_not_read_again() -> None:
    clock, store = HandClock(), MemoryStore()
    ledger, asked = ledger_on(store, clock), list[int | None]()
    read = store.administration.acts

    async def acts(*, before: int | None, limit: int) -> list[RecordedAct]:
        asked.append(before)
        return await read(before=before, limit=limit)

    store.administration.acts = acts  # type: ignore[method-assign]
    await ledger.begin(Waiting(), RetentionSettings())
    await ledger.perform([ledger.act(ActKind.CLONE_SEEN, "server") for _ in range(3)])
    asked.clear()
    async with running(ledger), asyncio.timeout(PATIENCE_S):
        while len(asked) < 4:
            await asyncio.sleep(0)
    assert asked == [None, 3, None, None]


def is_over(ledger: Ledger, warrant: Warrant) -> bool:
    ending = ledger.standing.ending(warrant)
    return ending is not None and ending.code is CloseCode.KEY_REPLACED


async def enrol(store: MemoryStore, ledger: Ledger, robot: RobotName) -> None:
    act = ledger.act(ActKind.ROBOT_REGISTERED, robot, robot=robot)
    record = RobotRecord(robot, OLD, act.at_ms)
    await store.register(record, enrolment=Enrolment(robot, 0, act.at_ms + 1), act=act)


def replaced(clock: HandClock, robot: RobotName) -> Act:
    change = KeyReplaced(OLD, NEW)
    facts: dict[str, Fact] = {"old": key_fingerprint(OLD), "new": key_fingerprint(NEW)}
    return Act(f"rotate-{robot}", clock.ms, robot, ActKind.KEY_ROTATED, robot, None, facts, change)


async def test_a_change_of_retention_is_on_record_and_no_change_is_not() -> None:
    clock, store = HandClock(), MemoryStore()
    for events in (0, 5, 5, 6, 0):
        await ledger_on(store, clock).begin(Waiting(), RetentionSettings(events=events))
    found = await store.administration.acts(before=None, limit=9)
    assert [act.facts["events"] for act in reversed(found)] == [5, 6, 0]


async def test_old_acts_and_expired_tokens_are_let_go() -> None:
    clock, store = HandClock(), MemoryStore()
    ledger = ledger_on(store, clock)
    await ledger.perform([end_of_token(clock)])
    clock.ms += 20_000
    await ledger.forget(AuditSettings(age_s=15))
    assert await store.administration.acts(before=None, limit=9) == []
    assert (await store.administration.revoked()).tokens == {}
