"""Old events are let go as the settings say, and whoever misses them is told."""

import logging

import pytest

from imserver.core.errors import StoreUnavailable
from imserver.core.settings import GroupRetention, RetentionSettings
from imserver.logic import retention
from imserver.logic.retention import Retention
from imserver.protocol.client_frames import History
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import Deliver, Gap
from tests.unit.logic.logic_tier import LogicTier, peer_of

DOCK = ConversationName("g/dock")


def keeper(tier: LogicTier, **rules) -> Retention:
    return Retention(
        tier.store,
        tier.store,
        tier.conversations,
        settings=RetentionSettings(**rules),
        clock=tier.clock,
        metrics=tier.metrics,
    )


async def dock_of(tier: LogicTier, count: int, *, body: str = "hi", name: str = "dock"):
    """Return an owner's session, whose group has ``count`` events."""
    session = await tier.session("r1", auto=False)
    conv = await tier.group(name, "r1")
    for _ in range(count - 1):
        tier.clock.ms += 1_000
        await tier.send(session, conv, body)
    return session


async def seqs_kept(tier: LogicTier, conv: ConversationName = DOCK) -> list[int]:
    events = await tier.store.read_after(conv, 0, limit=1_000, bytes_max=2**30)
    return [event.seq for event in events]


def told(session) -> list[object]:
    """Return the gaps and the seq that a session was given, in order."""
    found: list[object] = []
    for frame in peer_of(session).frames:
        if isinstance(frame, Gap):
            found.append((frame.from_, frame.to, frame.why))
        elif isinstance(frame, Deliver):
            found += [event.seq for event in frame.events]
    return found


async def test_without_settings_everything_is_kept(tier):
    await dock_of(tier, 10)
    await keeper(tier).sweep()
    assert await seqs_kept(tier) == list(range(1, 11))


async def test_the_newest_events_stay_by_number(tier):
    await dock_of(tier, 10)
    await keeper(tier, events=3).sweep()
    assert await seqs_kept(tier) == [8, 9, 10]


async def test_young_events_stay(tier):
    await dock_of(tier, 10)
    tier.clock.s += 9.0  # as much as the sends took
    trimmer = keeper(tier, age_s=2.5)
    await trimmer.sweep()
    assert await seqs_kept(tier) == [8, 9, 10]


async def test_the_newest_events_stay_by_size(tier):
    await dock_of(tier, 10, body="x" * 98)
    await keeper(tier, body_bytes=350).sweep()
    assert await seqs_kept(tier) == [8, 9, 10]


async def test_sizes_are_summed_up_again_when_the_log_has_grown(tier):
    session = await dock_of(tier, 10, body="x" * 98)
    trimmer = keeper(tier, body_bytes=350)
    await trimmer.sweep()
    await tier.send(session, DOCK, "x" * 98)
    await trimmer.sweep()
    assert await seqs_kept(tier) == [9, 10, 11]


async def test_sizes_are_summed_up_again_when_the_trimming_failed(tier, monkeypatch):
    async def full(*_args, **_kwargs):
        raise StoreUnavailable("no space")

    await dock_of(tier, 10, body="x" * 98)
    trimmer = keeper(tier, body_bytes=350)
    with monkeypatch.context() as away:
        away.setattr(tier.store, "trim", full)
        with pytest.raises(StoreUnavailable):
            await trimmer.sweep()
    await trimmer.sweep()
    assert await seqs_kept(tier) == [8, 9, 10]


async def test_a_long_log_is_trimmed_in_steps(tier, monkeypatch):
    monkeypatch.setattr(retention, "STEP_EVENTS", 4)
    await dock_of(tier, 30)
    await keeper(tier, events=2).sweep()
    assert await seqs_kept(tier) == [29, 30]
    assert tier.registry.get_sample_value("imserver_events_trimmed_total") == 28


async def test_one_group_has_a_rule_of_its_own(tier):
    await dock_of(tier, 10)
    await dock_of(tier, 10, name="yard")
    yard = ConversationName("g/yard")
    await keeper(tier, events=5, groups={yard: GroupRetention(events=0)}).sweep()
    assert len(await seqs_kept(tier)) == 5
    assert len(await seqs_kept(tier, yard)) == 10


async def test_a_direct_line_stays_whole(tier):
    session = await tier.session("r1")
    await tier.store.enlist("r2")
    for _ in range(5):
        await tier.send(session, "d/r1/r2")
    await keeper(tier, events=1).sweep()
    assert len(await seqs_kept(tier, ConversationName("d/r1/r2"))) == 5


async def test_a_clock_that_jumped_lets_nothing_go(tier, caplog):
    await dock_of(tier, 10)
    trimmer = keeper(tier, age_s=60)
    tier.clock.ms += 12 * 365 * 86_400_000
    with caplog.at_level(logging.ERROR):
        await trimmer.sweep()
    assert await seqs_kept(tier) == list(range(1, 11))
    assert "retention.clock_jumped" in caplog.messages


async def test_a_reader_below_the_floor_gets_a_gap_and_then_the_log_from_there(tier):
    await dock_of(tier, 10)
    await keeper(tier, events=3).sweep()
    reader = await tier.session("r1", "late")
    await tier.settle()
    assert told(reader) == [(1, 7, "retention"), 8, 9, 10]


async def test_a_reader_is_told_of_what_another_node_let_go(tier):
    await dock_of(tier, 10)
    await tier.store.trim(DOCK, 8, limit=100)
    held = tier.conversations.peek(DOCK)
    assert held is not None and held.floor == 1
    held.tail = None
    session = await tier.session("r1", "late", auto=False)
    tier.sessions.follow(session, held, 2)
    await tier.settle()
    assert told(session) == [(3, 7, "retention"), 8, 9, 10]


async def test_a_gap_frees_the_window(tier):
    await dock_of(tier, 10)
    reader = await tier.session("r1", "late", window=2)
    await tier.settle()
    assert told(reader) == [1, 2]
    await keeper(tier, events=3).sweep()
    tier.sessions.ack(reader, DOCK, 2)
    await tier.settle()
    assert told(reader) == [1, 2, (3, 7, "retention"), 8, 9]


@pytest.mark.parametrize(
    ("asked", "gap", "seqs"),
    [
        ({"after": 0}, [(1, 7, "retention")], [8, 9, 10]),
        ({"after": 5}, [(6, 7, "retention")], [8, 9, 10]),
        ({"after": 7}, [], [8, 9, 10]),
        ({"after": 10}, [], []),
        ({"before": 10}, [(1, 7, "retention")], [8, 9]),
        ({"before": 8}, [(1, 7, "retention")], []),
    ],
)
async def test_history_names_what_was_let_go_before_its_page(tier, asked, gap, seqs):
    session = await dock_of(tier, 10)
    await tier.store.trim(DOCK, 8, limit=100)
    page = await tier.history.read(session, History(id=1, conv=DOCK, limit=100, **asked))
    assert [event.seq for event in page] == seqs
    assert told(session) == gap


async def test_a_full_disk_puts_a_sweep_off_and_names_the_reason(tier, caplog, monkeypatch):
    async def full(*_args, **_kwargs):
        tier.spawn(_stop(), "stop")
        raise StoreUnavailable("no space")

    async def _stop():
        work.cancel()

    await dock_of(tier, 10)
    monkeypatch.setattr(tier.store, "trim", full)
    work = tier.spawn(keeper(tier, events=3, interval_s=0.001).run(), "retention")
    with caplog.at_level(logging.WARNING):
        while not work.done():
            await tier.settle()
    assert "retention.put_off" in caplog.messages
