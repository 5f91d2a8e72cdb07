"""What is told but not stored: who is online, and the latest values of things."""

import secrets
from typing import Any

from tests.e2e.conftest import by_every_way
from tests.e2e.wire import JSON, Fleet, Frame, Peer

pytestmark = by_every_way


def presence(peer: Peer, robot: str) -> list[Frame]:
    """Return what ``peer`` was told of the presence of ``robot``, oldest first."""
    told = [s for s in peer.signals if s["key"] == "@presence" and s["sender"] == robot]
    return [signal["body"] for signal in told]


async def until_presence(peer: Peer, robot: str, **wanted: Any) -> Frame:
    """Take in frames until the newest presence of ``robot`` is as ``wanted``; return it."""

    def found() -> bool:
        known = presence(peer, robot)
        return bool(known) and wanted.items() <= known[-1].items()

    await peer.until(found)
    return presence(peer, robot)[-1]


async def company(fleet: Fleet, one: Peer, *others: Peer, name: str = "dock") -> str:
    """Make a group, and return it when all its members have heard of it: then they hear of each other."""
    conv = await fleet.group(one, *others, name=name)
    for peer in (one, *others):
        await peer.until(peer.logs[conv].__len__)
    return conv


async def test_members_are_told_when_a_robot_comes_online(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    await company(fleet, one, other)
    await other.close()
    await until_presence(one, other.robot, online=False)
    await fleet.online("r2")
    body = await until_presence(one, other.robot, online=True)
    assert body["since"] >= one.welcome["now"]


async def test_a_robot_that_says_goodbye_went_offline_cleanly(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    await company(fleet, one, other)
    await other.close()
    assert (await until_presence(one, other.robot, online=False))["how"] == "clean"


async def test_a_robot_whose_connection_broke_was_lost(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    await company(fleet, one, other)
    await other.vanish()
    assert (await until_presence(one, other.robot, online=False))["how"] == "lost"


async def test_a_replaced_session_is_told_as_replaced_and_the_robot_stays_online(
    fleet: Fleet,
) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await company(fleet, one, other)
    await fleet.online("r2")
    body = await until_presence(one, other.robot, how="replaced")
    assert body["online"] is True
    rows = (await one.request("list_members", conv=conv))["result"]
    assert all(row["online"] for row in rows)


async def test_a_robot_is_online_until_its_last_device_has_gone(fleet: Fleet) -> None:
    one = await fleet.online("r1")
    arm, leg = await fleet.online("r2", device="arm"), await fleet.online("r2", device="leg")
    await company(fleet, one, arm)
    await arm.close()
    await until_presence_settles(one, fleet)
    assert {"online": False} not in [{"online": b["online"]} for b in presence(one, arm.robot)]
    await leg.close()
    await until_presence(one, leg.robot, online=False)


async def until_presence_settles(peer: Peer, fleet: Fleet) -> None:
    """Take in frames until a presence that was caused now has come: earlier ones have come before."""
    witness = await fleet.online("witness")
    await company(fleet, peer, witness, name="witness")
    await witness.close()
    await until_presence(peer, witness.robot, online=False)


async def test_robots_without_a_common_group_are_not_told(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    await fleet.group(one)
    await fleet.group(other, name="other")
    await other.close()
    await until_presence_settles(one, fleet)
    assert presence(one, other.robot) == []


async def test_a_signal_reaches_the_members_that_are_online_and_nobody_else(fleet: Fleet) -> None:
    one, other, stranger = [await fleet.online(name) for name in ("r1", "r2", "r3")]
    conv = await company(fleet, one, other)
    await one.write({"t": "signal", "conv": conv, "key": "pose", "body": {"x": 1.5}})
    await other.until(lambda: [s for s in other.signals if s["key"] == "pose"])
    signal = next(s for s in other.signals if s["key"] == "pose")
    assert signal["conv"] == conv
    assert signal["sender"] == one.robot
    assert signal["body"] == {"x": 1.5}
    await stranger.settle()
    assert not stranger.signals


async def test_signals_are_not_stored(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await company(fleet, one, other)
    await one.write({"t": "signal", "conv": conv, "key": "pose", "body": 1})
    await other.until(lambda: [s for s in other.signals if s["key"] == "pose"])
    assert len((await one.request("history", conv=conv, after=0))["events"]) == 1


async def test_the_revision_of_a_signal_grows(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2", JSON)
    conv = await company(fleet, one, other)
    for count in range(100):
        await one.write({"t": "signal", "conv": conv, "key": "pose", "body": count})
    await other.until(lambda: other.signals and other.signals[-1]["body"] == 99)
    poses = [s for s in other.signals if s["key"] == "pose"]
    assert [s["rev"] for s in poses] == sorted({s["rev"] for s in poses})
    assert [s["body"] for s in poses] == sorted(s["body"] for s in poses)


async def test_signals_to_a_reader_that_stops_reading_keep_the_latest_only(fleet: Fleet) -> None:
    one, stuck = await fleet.online("r1"), await fleet.online("r2")
    conv = await company(fleet, one, stuck)
    stuck.socket.transport.pause_reading()
    pad = secrets.token_urlsafe(7_500)  # which does not fit into the buffers, compressed or not
    for count in range(1_000):
        await one.write({"t": "signal", "conv": conv, "key": "pose", "body": [count, pad]})
    await one.settle()
    stuck.socket.transport.resume_reading()
    await stuck.until(lambda: stuck.signals and stuck.signals[-1]["body"][0] == 999)
    counts = [s["body"][0] for s in stuck.signals if s["key"] == "pose"]
    assert counts == sorted(counts)
    assert len(counts) < 1_000


async def test_the_keys_of_the_server_cannot_be_signalled(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await company(fleet, one, other)
    lie = {"online": False, "how": "lost", "since": 0}
    await one.write({"t": "signal", "conv": conv, "key": "@presence", "body": lie})
    await one.until(lambda: one.errors)
    assert one.errors[0]["code"] == "forbidden"
