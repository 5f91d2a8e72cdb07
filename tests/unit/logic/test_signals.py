"""Signals and presence: to whom, in which order, and how few."""

import asyncio

import pytest

from imserver.core.errors import Refusal
from imserver.logic import presence as presence_module
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.server_frames import SignalValue
from tests.unit.logic.logic_tier import LogicTier, peer_of
from tests.unit.logic.recording_peer import RecordingPeer, value
from tests.until import PATIENCE_S

BODY = b"\x01"


async def signal(tier: LogicTier, session: Session, conv: str, key: str = "k") -> None:
    work = tier.signals.signal(session, conv, key=key, body=BODY)
    if work is not None:
        await work


def heard(session: Session, key: str = "k") -> list[SignalValue]:
    return [frame for frame in peer_of(session).of(SignalValue) if frame.key == key]


def presence(session: Session) -> list[tuple[str, bool, str]]:
    """Return who came and went, as this session heard it."""
    told = [(frame.sender, value(frame.body)) for frame in heard(session, "@presence")]
    return [(sender, body["online"], body["how"]) for sender, body in told]


async def test_a_signal_reaches_every_reader_but_its_own_robot(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2", "r3")
    sender, spare = await tier.session("r1"), await tier.session("r1", "spare")
    others = [await tier.session(robot) for robot in ("r2", "r3")]
    await signal(tier, sender, conv)
    assert heard(sender) == heard(spare) == []
    for other in others:
        (frame,) = heard(other)
        assert (frame.conv, frame.sender, bytes(frame.body)) == (conv, "r1", BODY)


async def test_who_was_removed_hears_no_signal_however_slowly_it_takes_its_removal(
    tier: LogicTier,
) -> None:
    conv = await tier.group("a", "r1", "r2")
    owner, gone = await tier.session("r1"), await tier.session("r2", window=1)
    await tier.groups.remove(owner, conv, ["r2"])
    await signal(tier, owner, conv)
    assert heard(gone) == []
    tier.sessions.ack(gone, conv, 1)
    assert peer_of(gone).seqs(conv) == [1, 2]
    assert conv not in gone.readers


async def test_a_signal_to_a_conversation_that_is_not_held_arrives_too(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    for _ in range(3):
        tier.conversations.sweep()
    sender = await tier.session("r1", auto=False)
    other = await tier.session("r2")
    await signal(tier, sender, conv)
    assert len(heard(other)) == 1


async def test_the_revision_grows_with_every_signal_and_with_the_clock(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    sender, other = await tier.session("r1"), await tier.session("r2")
    for _ in range(3):
        await signal(tier, sender, conv)
    tier.clock.ms += 1
    await signal(tier, sender, conv)
    tier.clock.ms -= 500
    await signal(tier, sender, conv)
    revs = [frame.rev for frame in heard(other)]
    assert revs == sorted(set(revs)) and len(revs) == 5
    assert revs[3] >= (tier.clock.ms + 500) * 1_000, "a restarted node goes on above its old ones"


async def test_of_a_congested_reader_only_the_latest_of_each_key_is_kept(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    peer = RecordingPeer()
    sender, other = await tier.session("r1"), await tier.session("r2", peer=peer)
    await tier.settle()
    peer.congested = True
    for key in ("k", "k", "l", "k"):
        await signal(tier, sender, conv, key)
    assert peer.of(SignalValue) == []
    peer.drain(tier.sessions, other)
    assert sorted(frame.key for frame in peer.of(SignalValue)) == ["k", "l"]
    assert heard(other)[0].rev > heard(other, "l")[0].rev


@pytest.mark.parametrize(
    ("who", "conv", "key", "code"),
    [
        ("r3", "g/a", "k", ErrorCode.NOT_FOUND),
        ("r1", "g/b", "k", ErrorCode.NOT_FOUND),
        ("r1", "nonsense", "k", ErrorCode.BAD_FRAME),
        ("r2", "g/a", "k", ErrorCode.FORBIDDEN),
        ("r1", "g/a", "@presence", ErrorCode.FORBIDDEN),
    ],
)
async def test_what_may_not_be_signalled_is_refused(
    tier: LogicTier, who: str, conv: str, key: str, code: ErrorCode
) -> None:
    await tier.group("a", "r1", "r2")
    await tier.groups.set_role(await tier.session("r1", "d"), "g/a", "r2", role=Role.OBSERVER)
    session = await tier.session(who)
    with pytest.raises(Refusal) as caught:
        await signal(tier, session, conv, key)
    assert caught.value.code is code


# Presence.


async def test_everyone_who_shares_a_group_hears_who_comes_and_goes(tier: LogicTier) -> None:
    await tier.group("a", "r1", "r2")
    watcher = await tier.session("r1")
    tier.presence._flush()
    robot = await tier.session("r2")
    tier.presence._flush()
    tier.sessions.close(robot, "lost")
    tier.presence._flush()
    assert presence(watcher) == [("r2", True, "clean"), ("r2", False, "lost")]


async def test_who_shares_nothing_hears_nothing(tier: LogicTier) -> None:
    await tier.group("a", "r1")
    watcher = await tier.session("r1")
    await tier.session("r2")
    tier.presence._flush()
    assert presence(watcher) == []


async def test_of_coming_and_going_within_a_moment_only_the_last_state_is_told(
    tier: LogicTier,
) -> None:
    await tier.group("a", "r1", "r2")
    watcher = await tier.session("r1")
    tier.presence._flush()
    for _ in range(3):
        tier.sessions.close(await tier.session("r2"), "lost")
    tier.presence._flush()
    assert presence(watcher) == [("r2", False, "lost")]


async def test_a_robot_with_another_session_is_not_gone(tier: LogicTier) -> None:
    await tier.group("a", "r1", "r2")
    watcher = await tier.session("r1")
    one = await tier.session("r2")
    await tier.session("r2", "spare")
    tier.presence._flush()
    tier.sessions.close(one, "lost")
    tier.presence._flush()
    assert presence(watcher) == [("r2", True, "clean")]


async def test_a_replaced_session_says_so_and_its_end_says_nothing(tier: LogicTier) -> None:
    await tier.group("a", "r1", "r2")
    watcher = await tier.session("r1")
    old = await tier.session("r2")
    await tier.session("r2")
    tier.sessions.close(old, "lost")
    tier.presence._flush()
    assert presence(watcher) == [("r2", True, "replaced")]


async def test_since_is_when_it_happened_not_when_it_was_told(tier: LogicTier) -> None:
    await tier.group("a", "r1", "r2")
    watcher = await tier.session("r1")
    tier.presence._flush()
    happened = tier.clock.ms
    await tier.session("r2")
    tier.clock.ms += 70
    tier.presence._flush()
    assert value(heard(watcher, "@presence")[-1].body)["since"] == happened


async def test_a_robot_that_receives_by_hand_is_seen_in_all_its_groups(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    await tier.group("b", "r3", "r2")
    watchers = [await tier.session(robot) for robot in ("r1", "r3")]
    tier.presence._flush()
    robot = await tier.session("r2", auto=False)
    held = await tier.conversations.load(conv)  # type: ignore[arg-type]
    assert held is not None
    tier.sessions.follow(robot, held, 0)
    tier.presence._flush()
    tier.sessions.close(robot, "clean")
    tier.presence._flush()
    for watcher in watchers:
        assert presence(watcher) == [("r2", True, "clean"), ("r2", False, "clean")]


async def test_very_large_audiences_are_spared() -> None:
    async with LogicTier(readers_max=2) as tier:
        await tier.group("a", "r1", "r2", "r3")
        watcher = await tier.session("r1")
        await tier.session("r2")
        tier.presence._flush()
        assert presence(watcher) == [("r2", True, "clean")]
        await tier.session("r3")
        tier.presence._flush()
        assert presence(watcher) == [("r2", True, "clean")]


async def test_a_storm_of_changes_is_told_in_portions_that_bring_everyone_the_last_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence_module, "STEP_WEIGHT_MAX", 60)
    monkeypatch.setattr(presence_module, "WEIGHT_PER_S", 60_000)
    robots = [f"r{number}" for number in range(12)]
    async with LogicTier() as tier:
        await tier.group("a", "watcher", *robots)
        watcher = await tier.session("watcher")
        tier.presence._flush()
        for robot in robots:
            await tier.session(robot)
        tier.sessions.close(await tier.session("r0", "spare"), "lost")
        tier.presence._flush()
        told = len(presence(watcher))
        assert 0 < told < len(robots)
        async with asyncio.timeout(PATIENCE_S):
            while len(presence(watcher)) < len(robots):
                await asyncio.sleep(0.001)
    assert sorted(presence(watcher)) == sorted((robot, True, "clean") for robot in robots)


async def test_presence_is_told_by_itself_after_a_moment() -> None:
    async with LogicTier(presence_flush_s=0.001) as tier:
        await tier.group("a", "r1", "r2")
        watcher = await tier.session("r1")
        await tier.session("r2")
        while not presence(watcher):
            await tier.settle()
        assert presence(watcher) == [("r2", True, "clean")]
