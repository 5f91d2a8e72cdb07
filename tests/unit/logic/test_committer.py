"""The way into the log: batches, order, limits, failures, cursors, drain."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from imserver.core.errors import Refusal, StoreFailed, StoreUnavailable
from imserver.core.model import Append, Cursor, Outcome, Run, Stored
from imserver.logic import committer as committer_module
from imserver.logic import gathering
from imserver.logic.gathering import MANY
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from imserver.protocol.server_frames import Error
from tests.unit.logic.logic_tier import LogicTier, plain
from tests.until import PATIENCE_S

R1, MAIN, LINE = RobotName("r1"), DeviceName("main"), ConversationName("d/r1/r2")


class Ledger:
    """A `Waiter` and a subscriber that keep what they hear in one list."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, object]] = []

    def on_outcome(self, outcome: Outcome) -> None:
        assert isinstance(outcome, Stored)
        self.heard.append(("outcome", outcome.event.seq))

    def on_refusal(self, refusal: Refusal) -> None:
        self.heard.append(("refused", refusal.code))

    def publish(self, run: Run) -> None:
        self.heard.append(("published", (run.conv, [event.seq for event in run.events])))


def submit(tier: LogicTier, ledger: Ledger, *appends: Append) -> None:
    for append in appends:
        tier.committer.submit(append, ledger)


def line(cid: str, *, size: int = 1) -> Append:
    return plain(LINE, cid, "x" * size)


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def batches(tier: LogicTier) -> list[list[str]]:
    """Return the cids of every commit that had events."""
    return [[append.cid for append in events] for events in tier.store.calls]


def cursors(tier: LogicTier) -> list[Cursor]:
    return [cursor for moved in tier.store.moves for cursor in moved]


async def test_an_idle_committer_commits_one_event_at_once(tier: LogicTier) -> None:
    outcome = await tier.committer.append(line("a"))
    assert isinstance(outcome, Stored) and outcome.event.seq == 1
    assert batches(tier) == [["a"]]


async def test_what_arrives_during_a_commit_goes_into_the_next_one(tier: LogicTier) -> None:
    ledger = Ledger()
    tier.store.commits.shut = True
    submit(tier, ledger, line("a"))
    await tier.settle()
    submit(tier, ledger, line("b"), line("c"))
    await tier.settle()
    assert tier.store.attempts == 1, "one commit at a time"
    tier.store.commits.open()
    await tier.settle()
    assert batches(tier) == [["a"], ["b", "c"]]


async def test_many_that_were_answered_together_go_together_again(
    tier: LogicTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "GATHER_S", 60.0)
    ledger, crowd = Ledger(), [str(number) for number in range(MANY)]
    tier.store.commits.shut = True
    submit(tier, ledger, *(line(f"one {cid}") for cid in crowd))
    await tier.settle()
    submit(tier, ledger, line("early"))
    tier.store.commits.open()
    await wait_until(lambda: len(ledger.heard) >= MANY)
    submit(tier, ledger, *(line(f"two {cid}") for cid in crowd))
    await wait_until(lambda: len(ledger.heard) >= 2 * MANY + 1)
    assert [len(batch) for batch in batches(tier)] == [MANY, MANY + 1]


async def test_who_does_not_send_again_is_not_waited_for_for_long(tier: LogicTier) -> None:
    ledger = Ledger()
    tier.store.commits.shut = True
    submit(tier, ledger, *(line(str(number)) for number in range(MANY)))
    await tier.settle()
    submit(tier, ledger, line("alone"))
    tier.store.commits.open()
    await wait_until(lambda: len(ledger.heard) >= MANY + 1)
    assert batches(tier)[1:] == [["alone"]]


async def test_senders_hear_their_outcome_before_it_is_published(tier: LogicTier) -> None:
    ledger = Ledger()
    tier.committer.publish = ledger.publish
    other = plain("d/r1/r3", "c")
    submit(tier, ledger, line("a"), other, line("b"))
    await tier.settle()
    assert ledger.heard == [
        ("outcome", 1), ("outcome", 1), ("outcome", 2),
        ("published", ("d/r1/r2", [1, 2])), ("published", ("d/r1/r3", [1])),
    ]  # fmt: skip


async def test_duplicates_are_answered_and_not_published_again(tier: LogicTier) -> None:
    ledger = Ledger()
    tier.committer.publish = ledger.publish
    submit(tier, ledger, line("a"), line("a"), line("b"))
    await tier.settle()
    assert ledger.heard[:3] == [("outcome", 1), ("outcome", 1), ("outcome", 2)]
    assert ledger.heard[3:] == [("published", ("d/r1/r2", [1, 2]))]


async def test_a_batch_has_a_limit_in_events(
    tier: LogicTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "BATCH_EVENTS_MAX", 2)
    submit(tier, Ledger(), *(line(cid) for cid in "abcde"))
    await tier.settle()
    assert batches(tier) == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_batch_has_a_limit_in_bytes_but_takes_one_event_of_any_size(
    tier: LogicTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "BATCH_BYTES_MAX", 2_000)
    sizes = {"a": 400, "b": 400, "c": 400, "d": 5_000, "e": 10}
    submit(tier, Ledger(), *(line(cid, size=size) for cid, size in sizes.items()))
    await tier.settle()
    assert batches(tier) == [["a", "b"], ["c"], ["d"], ["e"]]


async def test_more_than_may_wait_is_refused_and_definitely_not_stored() -> None:
    async with LogicTier(pending_bytes_max=100) as tier:
        ledger = Ledger()
        tier.store.commits.shut = True
        submit(tier, ledger, line("a"))
        await tier.settle()
        submit(tier, ledger, line("b", size=200))
        with pytest.raises(Refusal) as caught:
            submit(tier, ledger, line("c"))
        assert caught.value.code is ErrorCode.UNAVAILABLE
        assert caught.value.retry_after_ms
        tier.store.commits.open()
        await tier.settle()
        submit(tier, ledger, line("d"))
        await tier.settle()
        assert batches(tier) == [["a"], ["b"], ["d"]]


async def fill(tier: LogicTier, *flooders: str, size: int = 20_000) -> Ledger:
    """Let robots send as much as they are allowed to while a commit is on its way."""
    ledger = Ledger()
    tier.store.commits.shut = True
    submit(tier, ledger, line("first"))
    await tier.settle()
    left = dict.fromkeys(flooders)
    while left:
        for number, robot in enumerate(list(left)):
            cid = f"{robot}-{len(ledger.heard)}-{number}"
            append = plain(f"d/{robot}/z", cid, "x" * size, sender=robot)
            try:
                submit(tier, ledger, append)
            except Refusal:
                del left[robot]
    return ledger


@pytest.mark.parametrize("count", [1, 2, 20, 200])
async def test_robots_that_flood_are_refused_and_leave_room_for_others(count: int) -> None:
    async with LogicTier(pending_bytes_max=1_000_000) as tier:
        ledger = await fill(tier, *(f"f{number}" for number in range(count)))
        assert tier.registry.get_sample_value("imserver_events_overloaded_total") == count
        submit(tier, ledger, *(plain("d/a/b", f"{number}", sender="a") for number in range(10)))
        tier.store.commits.open()
        await tier.settle()
        assert {f"{number}" for number in range(10)} <= set(batches(tier)[1])


async def test_a_robot_that_floods_has_no_more_waiting_than_is_free() -> None:
    async with LogicTier(pending_bytes_max=1_000_000) as tier:
        await fill(tier, "one", "other")
        weights = [tier.committer._queue.weight_of(RobotName(name)) for name in ("one", "other")]
        assert all(280_000 < weight < 320_000 for weight in weights), weights


async def test_a_small_event_waits_for_one_batch_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "BATCH_BYTES_MAX", 50_000)
    async with LogicTier(pending_bytes_max=1_000_000) as tier:
        ledger = await fill(tier, "f1", "f2", "f3")
        for _ in range(3):
            tier.store.commits.let_one()
            await tier.settle()
            cid = f"honest-{len(batches(tier))}"
            submit(tier, ledger, plain("d/a/b", cid, sender="a"))
            tier.store.commits.let_one()
            await tier.settle()
            assert cid in batches(tier)[-1]


async def test_who_was_removed_before_its_turn_came_is_told_to_ask_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(committer_module, "BATCH_EVENTS_MAX", 1)
    async with LogicTier() as tier:
        owner, member = await tier.session("r1"), await tier.session("r2")
        conv = await tier.group("dock", "r1", "r2")
        tier.store.commits.shut = True
        submit(tier, Ledger(), line("first"))
        await tier.settle()
        asking = [
            tier.spawn(tier.try_send(member, conv, "x" * 1_000, cid=f"{number}"), "send")
            for number in range(3)
        ]
        await tier.settle()
        removing = tier.spawn(tier.groups.remove(owner, conv, ["r2"]), "remove")
        await tier.settle()
        tier.store.commits.open()
        removed = await removing
        answers = [await each for each in asking]
        assert [type(answer) for answer in answers] == [Error] * 3
        assert {answer.code for answer in answers} == {ErrorCode.UNAVAILABLE}
        held = tier.conversations.peek(conv)
        assert held is not None and held.head == removed.seq
        answer = await tier.try_send(member, conv)
        assert isinstance(answer, Error)
        assert answer.code is ErrorCode.NOT_FOUND


async def test_an_unavailable_store_refuses_the_batch_and_takes_the_next(tier: LogicTier) -> None:
    tier.store.fails.append(StoreUnavailable("full"))
    with pytest.raises(Refusal) as caught:
        await tier.committer.append(line("a"))
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert isinstance(await tier.committer.append(line("a")), Stored)


async def test_cursors_of_a_commit_that_was_not_possible_are_written_later() -> None:
    async with LogicTier(cursor_flush_s=0.001) as tier:
        await tier.committer.append(line("a"))
        tier.store.fails.append(StoreUnavailable("full"))
        tier.committer.move_cursor(R1, MAIN, LINE, 1)
        async with asyncio.timeout(PATIENCE_S):
            while not cursors(tier):
                await asyncio.sleep(0.001)
        assert cursors(tier) == [Cursor(R1, MAIN, LINE, 1)]


async def test_a_kept_cursor_does_not_undo_a_newer_one(tier: LogicTier) -> None:
    for cid in "abc":
        await tier.committer.append(line(cid))
    tier.store.fails.append(StoreUnavailable("full"))
    tier.store.commits.shut = True
    tier.committer.move_cursor(R1, MAIN, LINE, 1)
    tier.committer._on_flush_due()
    await tier.settle()
    tier.committer.move_cursor(R1, MAIN, LINE, 3)
    tier.store.commits.open()
    await tier.settle()
    tier.committer._on_flush_due()
    await tier.settle()
    assert cursors(tier) == [Cursor(R1, MAIN, LINE, 3)]


async def test_a_failed_store_refuses_what_was_on_its_way_and_what_waits_and_ends_the_node() -> (
    None
):
    tier, ledger = LogicTier(), Ledger()
    tier.start()
    assert tier.committing is not None
    tier.store.commits.shut = True
    tier.store.fails.append(StoreFailed("no fsync"))
    submit(tier, ledger, line("a"))
    await tier.settle()
    submit(tier, ledger, line("b"))
    tier.store.commits.open()
    with pytest.raises(StoreFailed):
        await tier.committing
    assert ledger.heard == [("refused", ErrorCode.UNAVAILABLE)] * 2
    assert tier.store.attempts == 1, "a failed commit is never tried again"


async def test_nobody_waits_for_a_failed_store_in_vain() -> None:
    tier = LogicTier()
    tier.start()
    assert tier.committing is not None
    tier.store.fails.append(StoreFailed("no fsync"))
    with pytest.raises(Refusal):
        await tier.committer.append(line("a"))
    with pytest.raises(StoreFailed):
        await tier.committing
    with pytest.raises(Refusal):
        await tier.committer.append(line("b"))


async def test_cursors_wait_for_the_timer_and_then_go_behind_the_events(tier: LogicTier) -> None:
    ledger = Ledger()
    tier.committer.publish = ledger.publish
    await tier.committer.append(line("a"))
    tier.committer.move_cursor(R1, MAIN, LINE, 1)
    await tier.committer.append(line("b"))
    assert cursors(tier) == []
    tier.store.commits.shut = True
    submit(tier, Ledger(), line("c"))
    await tier.settle()
    tier.committer._on_flush_due()
    submit(tier, ledger, line("d"))
    for _ in range(2):
        tier.store.commits.let_one()
        await tier.settle()
    assert ledger.heard[-2:] == [("outcome", 4), ("published", (LINE, [4]))]
    assert cursors(tier) == [Cursor(R1, MAIN, LINE, 1)]
    assert len(tier.store.commits) == 1, "who is answered did not wait for them"
    tier.store.commits.open()


async def test_cursors_go_alone_when_no_event_comes() -> None:
    async with LogicTier(cursor_flush_s=0.001) as tier:
        await tier.committer.append(line("a"))
        tier.committer.move_cursor(R1, MAIN, LINE, 1)
        async with asyncio.timeout(PATIENCE_S):
            while not cursors(tier):
                await asyncio.sleep(0.001)
        assert cursors(tier) == [Cursor(R1, MAIN, LINE, 1)]


async def test_a_cursor_never_moves_backwards_on_its_way(tier: LogicTier) -> None:
    for cid in "ab":
        await tier.committer.append(line(cid))
    tier.committer.move_cursor(R1, MAIN, LINE, 2)
    tier.committer.move_cursor(R1, MAIN, LINE, 1)
    tier.committer._on_flush_due()
    await tier.settle()
    assert cursors(tier) == [Cursor(R1, MAIN, LINE, 2)]


async def test_settling_a_robots_cursors_writes_them_now(tier: LogicTier) -> None:
    await tier.committer.append(line("a"))
    tier.committer.move_cursor(R1, MAIN, LINE, 1)
    await tier.committer.settle_cursors(R1)
    assert cursors(tier) == [Cursor(R1, MAIN, LINE, 1)]


async def test_settling_waits_for_the_commit_that_carries_the_cursors(tier: LogicTier) -> None:
    await tier.committer.append(line("a"))
    tier.store.commits.shut = True
    submit(tier, Ledger(), line("b"))
    await tier.settle()
    tier.committer.move_cursor(R1, MAIN, LINE, 1)
    settling = tier.spawn(tier.committer.settle_cursors(R1), "settling")
    await tier.settle()
    tier.store.commits.let_one()
    await tier.settle()
    assert not settling.done()
    tier.store.commits.let_one()
    await tier.settle()
    assert settling.done()


async def test_settling_is_over_when_the_store_is_unavailable(tier: LogicTier) -> None:
    tier.store.fails = [StoreUnavailable("full") for _ in range(9)]
    tier.committer.move_cursor(R1, MAIN, LINE, 1)
    async with asyncio.timeout(PATIENCE_S):
        await tier.committer.settle_cursors(R1)


async def test_who_has_no_cursors_on_the_way_does_not_wait(tier: LogicTier) -> None:
    tier.store.commits.shut = True
    submit(tier, Ledger(), line("a"))
    await tier.settle()
    tier.committer.move_cursor(RobotName("r2"), MAIN, LINE, 1)
    async with asyncio.timeout(PATIENCE_S):
        await tier.committer.settle_cursors(R1)


async def test_a_drain_finishes_what_was_accepted_and_writes_the_cursors(tier: LogicTier) -> None:
    ledger = Ledger()
    await tier.committer.append(line("a"))
    tier.committer.move_cursor(R1, MAIN, LINE, 1)
    tier.store.commits.shut = True
    submit(tier, ledger, line("b"))
    await tier.settle()
    submit(tier, ledger, line("c"))
    tier.committer.drain()
    with pytest.raises(Refusal, match="stops"):
        submit(tier, ledger, line("d"))
    tier.store.commits.open()
    assert tier.committing is not None
    async with asyncio.timeout(PATIENCE_S):
        await tier.committing
    assert batches(tier) == [["a"], ["b"], ["c"]]
    assert cursors(tier) == [Cursor(R1, MAIN, LINE, 1)]


async def test_an_idle_committer_drains_at_once(tier: LogicTier) -> None:
    tier.committer.drain()
    assert tier.committing is not None
    async with asyncio.timeout(PATIENCE_S):
        await tier.committing
    assert tier.store.attempts == 0


async def test_a_drain_ends_although_the_store_is_unavailable(tier: LogicTier) -> None:
    ledger = Ledger()
    tier.store.fails = [StoreUnavailable("full") for _ in range(50)]
    tier.committer.move_cursor(R1, MAIN, LINE, 1)
    submit(tier, ledger, line("a"))
    tier.committer.drain()
    assert tier.committing is not None
    async with asyncio.timeout(PATIENCE_S):
        await tier.committing
    assert ledger.heard == [("refused", ErrorCode.UNAVAILABLE)]
    assert tier.store.attempts < 5, "cursors may be lost; a node that cannot stop may not"


async def test_a_waiter_that_gave_up_disturbs_nobody(tier: LogicTier) -> None:
    tier.store.commits.shut = True
    gone = tier.spawn(tier.committer.append(line("a")), "gone")
    there = tier.spawn(tier.committer.append(line("b")), "there")
    await tier.settle()
    gone.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await gone
    tier.store.commits.open()
    assert (await there).event.seq == 2
    tier.tasks.discard(gone)


async def test_what_was_stored_doubled_and_refused_is_counted(tier: LogicTier) -> None:
    submit(tier, Ledger(), line("a"), line("a"))
    await tier.committer.append(plain("g/nowhere", "c"))
    counted = tier.registry.get_sample_value
    assert counted("imserver_events_stored_total") == 1
    assert counted("imserver_events_duplicate_total") == 1
    assert counted("imserver_events_refused_total") == 1
