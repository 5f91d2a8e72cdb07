"""Places, acks and signals over HTTP."""

import pytest

from imserver.core.warrant import Warrant
from imserver.protocol.client_frames import Hello
from imserver.protocol.names import DeviceName, RobotName
from imserver.protocol.server_frames import SignalValue, Welcome
from tests.unit.access.http.api_in_memory import Api
from tests.unit.access.http.streaming import follow
from tests.unit.logic.recording_peer import RecordingPeer

DOCK = "/v1/groups/dock"


async def places(api: Api, robot: str, device: str = "main") -> dict[str, int]:
    """Return how far a device is in each conversation."""
    answer = await api.ask("GET", f"/v1/conversations?device={device}", robot=robot)
    return {found["conv"]: found["acked"] for found in answer.json["conversations"]}


async def test_a_robot_lists_its_conversations_with_their_heads(api: Api):
    sent = await api.send("r2", "/v1/direct/r1/r2", "hi", key="c1")
    answer = await api.ask("GET", "/v1/conversations", robot="r2")
    epoch = sent.json["epoch"]
    assert answer.json == {
        "conversations": [
            {"conv": "d/r1/r2", "epoch": epoch, "seq": 1, "acked": 0},
            {
                "conv": "g/dock",
                "epoch": answer.json["conversations"][1]["epoch"],
                "seq": 1,
                "acked": 0,
            },
        ]
    }


async def test_an_ack_moves_the_devices_cursor_forwards_only(api: Api):
    for number in range(3):
        await api.send("r1", DOCK, number, key=f"c{number}")
    moved = await api.ask("POST", f"{DOCK}/acks", robot="r2", body={"seq": 3})
    assert moved.status == 204
    assert await places(api, "r2") == {"g/dock": 3}
    await api.ask("POST", f"{DOCK}/acks", robot="r2", body={"seq": 2})
    assert await places(api, "r2") == {"g/dock": 3}


async def test_each_device_has_a_cursor_of_its_own(api: Api):
    await api.send("r1", DOCK, "hi", key="c1")
    await api.ask("POST", f"{DOCK}/acks", robot="r2", body={"seq": 2, "device": "arm"})
    await api.ask("POST", f"{DOCK}/acks", robot="r2", body={"seq": 1, "device": "main"})
    assert await places(api, "r2", "arm") == {"g/dock": 2}
    assert await places(api, "r2", "main") == {"g/dock": 1}


async def test_several_conversations_are_acked_at_once(api: Api):
    await api.send("r1", "/v1/direct/r1/r2", "hi", key="c1")
    body = {"acks": {"g/dock": 1, "d/r1/r2": 1}, "device": "arm"}
    answer = await api.ask("POST", "/v1/acks", robot="r2", body=body)
    assert answer.status == 204
    assert await places(api, "r2", "arm") == {"g/dock": 1, "d/r1/r2": 1}


@pytest.mark.parametrize(
    ("acks", "code"),
    [
        ({"g/dock": 1, "d/r1/r2": 2}, "conflict"),
        ({"g/dock": 1, "g/other": 1}, "not_found"),
        ({"g/dock": 1, "dock": 1}, "bad_frame"),
        ({}, "bad_frame"),
        ({f"g/{number}": 0 for number in range(1_001)}, "bad_frame"),
    ],
    ids=["beyond the head", "no member", "no name", "none", "too many"],
)
async def test_of_several_acks_all_are_taken_or_none(api: Api, acks: dict[str, int], code: str):
    await api.send("r1", "/v1/direct/r1/r2", "hi", key="c1")
    answer = await api.ask("POST", "/v1/acks", robot="r2", body={"acks": acks})
    assert answer.code == code
    assert set((await places(api, "r2")).values()) == {0}


async def test_an_ack_beyond_the_head_is_refused(api: Api):
    answer = await api.ask("POST", f"{DOCK}/acks", robot="r2", body={"seq": 2})
    assert (answer.status, answer.code) == (409, "conflict")


@pytest.mark.parametrize("robot", ["r3", "boss"])
async def test_who_is_no_member_acks_nothing(api: Api, robot: str):
    answer = await api.ask("POST", f"{DOCK}/acks", robot=robot, admin=True, body={"seq": 1})
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("body", [{}, {"seq": -1}, {"seq": "1"}, {"seq": 1, "device": "a b"}])
async def test_an_ack_that_breaks_the_protocol_is_refused(api: Api, body: object):
    answer = await api.ask("POST", f"{DOCK}/acks", robot="r2", body=body)
    assert (answer.status, answer.code) == (400, "bad_frame")


async def test_a_session_goes_on_from_what_was_acked_over_http(api: Api):
    await api.send("r1", DOCK, "hi", key="c1")
    await api.ask("POST", f"{DOCK}/acks", robot="r2", body={"seq": 2})
    sessions = api.node.node.sessions
    peer = RecordingPeer()
    hello = Hello("r2")
    await sessions.open(peer, Warrant(RobotName("r2"), 0), DeviceName("main"), hello=hello)
    welcome = peer.frames[0]
    assert isinstance(welcome, Welcome)
    assert [state.acked for state in welcome.conversations] == [2]


async def test_a_signal_reaches_the_members_who_are_online(api: Api):
    peer = RecordingPeer()
    robot, device = RobotName("r2"), DeviceName("main")
    await api.node.node.sessions.open(peer, Warrant(robot, 0), device, hello=Hello("r2"))
    body = {"key": "battery", "body": 0.7}
    answer = await api.ask("POST", f"{DOCK}/signals", robot="r1", body=body)
    await api.node.settle()
    assert answer.status == 204
    signals = [frame for frame in peer.frames if isinstance(frame, SignalValue)]
    assert [(signal.sender, signal.key) for signal in signals] == [("r1", "battery")]


async def signalled(api: Api, robot: str, key: str, value: object) -> None:
    """Let a robot tell a value."""
    body = {"key": key, "body": value}
    answer = await api.ask("POST", f"{DOCK}/signals", robot=robot, body=body)
    assert answer.status == 204
    await api.node.settle()


async def test_the_latest_value_of_each_signal_can_be_asked_for(api: Api):
    for robot, key, value in (("r1", "pose", 1), ("r2", "pose", 2), ("r1", "pose", 3)):
        await signalled(api, robot, key, value)
    rows = (await api.ask("GET", f"{DOCK}/signals", robot="r2")).json["signals"]
    assert [(row["sender"], row["key"], row["body"]) for row in rows] == [
        ("r2", "pose", 2),
        ("r1", "pose", 3),
    ]
    assert rows[0]["rev"] < rows[1]["rev"]
    stranger = await api.ask("GET", f"{DOCK}/signals", robot="r3")
    assert stranger.code == "not_found"


async def test_who_is_a_member_no_longer_has_no_values(api: Api):
    await signalled(api, "r2", "pose", 2)
    await api.ask("DELETE", f"{DOCK}/members/r2", robot="r1")
    assert (await api.ask("GET", f"{DOCK}/signals", robot="r1")).json == {"signals": []}


async def test_a_stream_of_signals_begins_with_the_latest_values(api: Api):
    await signalled(api, "r1", "pose", 1)
    await signalled(api, "r1", "pose", 2)
    stream = await follow(api, "signals=true")
    await stream.until(lambda: stream.of("signal"))
    await signalled(api, "r1", "pose", 3)
    await stream.until(lambda: len(stream.of("signal")) == 2)
    assert [signal["body"] for signal in stream.of("signal")] == [2, 3]
    stream.lose()
    await stream.end()


async def test_a_signal_of_the_servers_own_is_refused(api: Api):
    body = {"key": "@presence", "body": 1}
    answer = await api.ask("POST", f"{DOCK}/signals", robot="r1", body=body)
    assert (answer.status, answer.code) == (403, "forbidden")


async def test_a_stranger_signals_nobody(api: Api):
    body = {"key": "battery", "body": 1}
    answer = await api.ask("POST", f"{DOCK}/signals", robot="r3", body=body)
    assert (answer.status, answer.code) == (404, "not_found")
