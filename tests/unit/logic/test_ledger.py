"""Acts: performed, in force, on record, and learned of by other nodes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import CollectorRegistry

from imserver.core.acts import Act, ActKind, RobotEnded, TokenEnded
from imserver.core.audit_settings import AuditSettings
from imserver.core.settings import RetentionSettings
from imserver.core.warrant import Warrant
from imserver.data.memory.store import MemoryStore
from imserver.logic.ledger import Ledger
from imserver.logic.metrics import AuditMetrics
from imserver.logic.standing import Standing
from imserver.protocol.errors import CloseCode
from imserver.protocol.names import RobotName
from tests.unit.logic.hand_clock import CountedIds, HandClock

R1 = RobotName("r1")
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
    running = asyncio.ensure_future(other.run(Waiting(), AuditSettings(), shares_store=True))
    await one.perform([end_of_token(clock)])
    async with asyncio.timeout(5):
        await ended.wait()
    assert other.standing.ending(Warrant(R1, clock.ms, token_id="t")) is not None
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


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
