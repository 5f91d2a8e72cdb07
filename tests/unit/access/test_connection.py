"""The session shell: states, offences, order, pace, and one close however it comes to it."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Raw

from imserver.access import kept_signals, paced_reading
from imserver.core.errors import StoreUnavailable
from imserver.core.model import RobotRecord
from imserver.core.settings import Settings
from imserver.protocol import client_frames as frames
from imserver.protocol.codec import JSON, MSGPACK
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.limits import Limits
from imserver.protocol.names import RobotName
from imserver.protocol.server_frames import (
    Bye,
    Challenge,
    Error,
    Ok,
    Pong,
    Sent,
    SignalValue,
    Welcome,
)
from imserver.protocol.session_states import IN_SESSION, SessionState
from imserver.protocol.shared_frame import SharedFrame
from tests.contract.records import enrolment
from tests.unit.access.node_in_memory import NodeInMemory, running
from tests.unit.access.recording_link import Client

KEY = Ed25519PrivateKey.from_private_bytes(b"r" * 32)
BODY = Raw(msgpack.packb("hi"))
EXAMPLES: dict[type, Any] = {
    frames.Send: frames.Send(9, "g/a", "c", BODY),
    frames.Ack: frames.Ack("g/a", 0),
    frames.Follow: frames.Follow(9, "g/a", 0),
    frames.Unfollow: frames.Unfollow(9, "g/a"),
    frames.History: frames.History(9, "g/a"),
    frames.Signal: frames.Signal("g/a", "k", BODY),
    frames.Chunk: frames.Chunk("g/a", 1, 0, "x"),
    frames.Stop: frames.Stop(9, "g/a", 1, 0),
    frames.CreateGroup: frames.CreateGroup(9, "a"),
    frames.DeleteGroup: frames.DeleteGroup(9, "g/a"),
    frames.Join: frames.Join(9, "g/a"),
    frames.Leave: frames.Leave(9, "g/a"),
    frames.AddMembers: frames.AddMembers(9, "g/a", ["r2"]),
    frames.RemoveMembers: frames.RemoveMembers(9, "g/a", ["r2"]),
    frames.SetRole: frames.SetRole(9, "g/a", "r2", Role.ADMIN),
    frames.ListGroups: frames.ListGroups(9),
    frames.ListMembers: frames.ListMembers(9, "g/a"),
    frames.ListRobots: frames.ListRobots(9),
    frames.WhoAmI: frames.WhoAmI(9),
    frames.RotateKey: frames.RotateKey(9, bytes(range(32)), bytes(64), bytes(64)),
    frames.HttpToken: frames.HttpToken(9),
    frames.Ping: frames.Ping(9),
}
PROVE = frames.Prove(bytes(64))


@pytest.fixture
async def node() -> AsyncIterator[NodeInMemory]:
    async with running() as node:
        yield node


async def opened(node: NodeInMemory, robot: str = "r1", **hello: Any) -> Client:
    """Return a client whose session is open."""
    client = Client(node.context)
    client.say(node.hello(robot, **hello))
    await node.settle()
    assert client.connection.state is SessionState.OPEN, client.frames
    return client


def test_there_is_an_example_of_every_frame_of_a_session() -> None:
    assert set(EXAMPLES) == IN_SESSION


# States.


@pytest.mark.parametrize("frame", [*EXAMPLES.values(), PROVE], ids=lambda f: type(f).__name__)
async def test_before_hello_a_frame_is_answered_with_what_comes_first(
    node: NodeInMemory, frame: Any
) -> None:
    client = Client(node.context)
    client.say(frame)
    assert client.last_error.code is ErrorCode.UNAUTHENTICATED
    assert client.last_error.id == getattr(frame, "id", None)
    assert "hello" in client.last_error.message


@pytest.mark.parametrize("frame", [*EXAMPLES.values()], ids=lambda f: type(f).__name__)
async def test_a_challenge_must_be_answered_first(node: NodeInMemory, frame: Any) -> None:
    client = Client(node.context)
    client.say(frames.Hello("r1"), frame)
    assert client.last_error.code is ErrorCode.UNAUTHENTICATED
    assert "prove" in client.last_error.message


@pytest.mark.parametrize(
    "frame", [frames.Hello("r1"), PROVE, frames.Register(9, "r1", "t", bytes(32))],
    ids=lambda f: type(f).__name__,
)  # fmt: skip
async def test_who_is_inside_needs_no_introduction(node: NodeInMemory, frame: Any) -> None:
    client = await opened(node)
    client.say(frame)
    assert client.last_error.code is ErrorCode.BAD_FRAME
    assert client.last_error.id == getattr(frame, "id", None)
    assert client.connection.state is SessionState.OPEN


@pytest.mark.parametrize("frame", EXAMPLES.values(), ids=lambda f: type(f).__name__)
async def test_every_request_of_a_session_gets_exactly_one_answer(
    node: NodeInMemory, frame: Any
) -> None:
    client = await opened(node)
    client.say(frame)
    await node.settle()
    answers = [each for each in client.frames if getattr(each, "id", None) == 9]
    assert len(answers) == (1 if hasattr(frame, "id") else 0)
    assert client.connection._unanswered == 0


async def challenged(node: NodeInMemory) -> tuple[Client, frames.Prove]:
    """Return a client that has been challenged, and the proof that its robot's key gives."""
    public = KEY.public_key().public_bytes_raw()
    await node.store.register(
        RobotRecord(RobotName("r1"), public, 0), enrolment=enrolment("t" * 16)
    )
    client = Client(node.context)
    client.say(frames.Hello("r1"))
    (challenge,) = client.of(Challenge)
    text = f"imserver.v1 {challenge.server} {challenge.nonce} r1 main"
    return client, frames.Prove(KEY.sign(text.encode()))


async def test_a_robot_proves_itself_by_its_key(node: NodeInMemory) -> None:
    client, proof = await challenged(node)
    client.say(proof)
    await node.settle()
    assert [type(frame) for frame in client.frames] == [Challenge, Welcome]
    assert client.connection.hello is None and client.connection.nonce is None


async def test_who_leaves_right_behind_its_proof_gets_no_session(node: NodeInMemory) -> None:
    client, proof = await challenged(node)
    client.say(proof)
    client.connection.on_lost(clean=False)
    await node.settle()
    assert client.connection.state is SessionState.CLOSED
    assert node.node.sessions.all() == []


async def test_who_is_closed_right_behind_its_proof_gets_no_session(node: NodeInMemory) -> None:
    client, proof = await challenged(node)
    client.say(proof)
    for _ in range(3):
        client.connection.on_message(b"\xc1")
    await node.settle()
    assert client.link.closes == [CloseCode.POLICY]
    assert node.node.sessions.all() == []


async def test_a_wrong_signature_closes_the_connection(node: NodeInMemory) -> None:
    client = Client(node.context)
    client.say(frames.Hello("r1"), PROVE)
    await node.settle()
    assert client.last_error.code is ErrorCode.UNAUTHENTICATED and client.last_error.fatal
    assert client.link.closes == [CloseCode.UNAUTHENTICATED]


async def test_a_wrong_token_closes_the_connection(node: NodeInMemory) -> None:
    client = Client(node.context)
    client.say(frames.Hello("r1", token="junk"))
    await node.settle()
    assert client.last_error.fatal and client.link.closes == [CloseCode.UNAUTHENTICATED]


async def test_a_bad_name_in_hello_may_be_put_right(node: NodeInMemory) -> None:
    client = Client(node.context)
    client.say(frames.Hello("a b"))
    assert client.last_error.code is ErrorCode.BAD_FRAME and not client.last_error.fatal
    client.say(node.hello())
    await node.settle()
    assert client.connection.state is SessionState.OPEN


async def test_a_spent_challenge_is_followed_by_another_hello(node: NodeInMemory) -> None:
    client = Client(node.context)
    client.say(frames.Hello("r1"))
    node.store.reads_fail.append(StoreUnavailable("away"))
    client.say(PROVE)
    await node.settle()
    client.say(PROVE)
    errors = [(error.code, error.fatal) for error in client.of(Error)]
    assert errors == [(ErrorCode.UNAVAILABLE, False), (ErrorCode.UNAUTHENTICATED, False)]
    client.say(frames.Hello("r1"))
    first, second = client.of(Challenge)
    assert first.nonce != second.nonce


# Offences.


@pytest.mark.parametrize(
    "offence",
    [b"\xc1", msgpack.packb({"t": "shout"}), MSGPACK.encode(frames.Hello("r1"))],
    ids=["malformed", "unknown", "out of place"],
)
async def test_the_third_offence_closes(node: NodeInMemory, offence: bytes) -> None:
    client = await opened(node)
    for _ in range(3):
        client.connection.on_message(offence)
    assert [error.fatal for error in client.of(Error)] == [False, False, True]
    assert client.link.closes == [CloseCode.POLICY]
    assert node.counted("imserver_connections_closed_for_offences_total") == 1


async def test_three_frames_before_hello_close_too(node: NodeInMemory) -> None:
    client = Client(node.context)
    client.say(*[frames.Ping(1)] * 4)
    assert [error.fatal for error in client.of(Error)] == [False, False, True]
    assert client.link.closes == [CloseCode.UNAUTHENTICATED]


async def test_a_refused_request_is_no_offence(node: NodeInMemory) -> None:
    client = await opened(node)
    for n in range(9):
        client.say(frames.Join(n, "g/nowhere"))
        await node.settle()
    assert client.link.closes == []


async def test_an_offence_after_the_close_is_nothing(node: NodeInMemory) -> None:
    client = await opened(node)
    client.connection.close(CloseCode.NORMAL, "enough")
    for _ in range(5):
        client.connection.offend("again")
    assert client.link.closes == [CloseCode.NORMAL] and client.of(Error) == []


async def test_a_bad_frame_keeps_the_id_that_could_be_read(node: NodeInMemory) -> None:
    client = await opened(node)
    client.connection.on_message(msgpack.packb({"t": "join", "id": 7}))
    assert (client.last_error.id, client.last_error.code) == (7, ErrorCode.BAD_FRAME)


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
async def test_a_bad_body_is_a_bad_frame_and_no_offence(node: NodeInMemory, codec: Any) -> None:
    client = Client(node.context, codec)
    client.say(node.hello())
    await node.settle()
    raw = Raw(b"\xc7\x01\x05x" if codec.binary else b"[1e999]")
    for n in range(5):
        client.say(frames.Send(n, "g/a", "c", raw))
    assert client.last_error.code is ErrorCode.BAD_FRAME and client.last_error.id == 4
    assert client.link.closes == []


async def test_a_body_over_the_limit_is_too_large_and_says_the_limit() -> None:
    async with running(Settings(limits=Limits(body_bytes_max=100))) as node:
        client = await opened(node)
        client.say(frames.Send(5, "g/a", "c", Raw(msgpack.packb("x" * 99))))
        assert client.last_error.code is ErrorCode.TOO_LARGE
        assert "100" in client.last_error.message and client.last_error.id == 5
        client.say(frames.Signal("g/a", "k", Raw(msgpack.packb("x" * 99))))
        assert client.last_error.code is ErrorCode.TOO_LARGE


# Faults of the server's own.


async def test_a_request_that_fails_on_its_way_is_internal_and_logged(
    node: NodeInMemory, caplog: pytest.LogCaptureFixture
) -> None:
    client = await opened(node)
    node.clock.is_broken = True
    client.say(frames.CreateGroup(5, "a"))
    await node.settle()
    node.clock.is_broken = False
    assert (client.last_error.id, client.last_error.code) == (5, ErrorCode.INTERNAL)
    assert "clock" not in client.last_error.message, "no details for clients"
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.message == "request.failed" and record.exc_info


async def test_a_request_that_fails_at_once_is_internal_and_the_connection_goes_on(
    node: NodeInMemory,
) -> None:
    client = await opened(node)
    node.clock.is_broken = True
    client.say(frames.Ping(5))
    node.clock.is_broken = False
    assert (client.last_error.id, client.last_error.code) == (5, ErrorCode.INTERNAL)
    client.say(frames.Ping(6))
    assert client.of(Pong)[-1].id == 6


async def test_a_waiting_request_that_fails_at_once_does_not_end_the_node(
    node: NodeInMemory,
) -> None:
    client = await opened(node)
    node.store.conversations_read.shut = True
    client.say(frames.History(5, "g/a"), frames.Ping(6), frames.Ping(7))
    await node.settle()
    node.clock.is_broken = True
    node.store.conversations_read.open()
    await node.settle()
    node.clock.is_broken = False
    assert [error.id for error in client.of(Error)] == [5, 6, 7]
    client.say(frames.Ping(8))
    assert client.of(Pong)[-1].id == 8


async def test_a_store_that_cannot_be_asked_is_unavailable(node: NodeInMemory) -> None:
    client = await opened(node)
    node.store.reads_fail.append(StoreUnavailable("away"))
    client.say(frames.History(5, "g/a"))
    await node.settle()
    assert (client.last_error.id, client.last_error.code) == (5, ErrorCode.UNAVAILABLE)
    assert client.last_error.retry_after and not client.last_error.fatal


# Order.


async def test_a_slow_request_holds_back_the_later_ones_in_order(node: NodeInMemory) -> None:
    client = await opened(node)
    client.say(frames.CreateGroup(1, "a"))
    await node.settle()
    node.store.conversations_read.shut = True
    client.say(frames.History(2, "g/b"), frames.Ping(3), frames.Send(4, "g/a", "c", BODY))
    client.say(frames.History(5, "g/c"), frames.Ping(6))
    await node.settle()
    assert [frame.id for frame in client.frames if hasattr(frame, "id")] == [1]
    node.store.conversations_read.let_one()
    await node.settle()
    assert [frame.id for frame in client.frames if hasattr(frame, "id")][:3] == [1, 2, 3]
    assert client.of(Pong)[-1].id == 3
    node.store.conversations_read.open()
    await node.settle()
    assert client.of(Pong)[-1].id == 6
    assert client.of(Sent)[-1].id == 4


async def test_sends_keep_their_order_around_one_that_must_ask_the_store(
    node: NodeInMemory,
) -> None:
    client = await opened(node)
    await node.store.enlist("r2")
    node.store.conversations_read.shut = True
    client.say(*(frames.Send(n, "d/r1/r2", f"c{n}", BODY) for n in range(5)))
    await node.settle()
    node.store.conversations_read.open()
    await node.settle()
    assert [(sent.id, sent.seq) for sent in client.of(Sent)] == [(n, n + 1) for n in range(5)]


async def test_a_slow_request_of_one_holds_back_nobody_else(node: NodeInMemory) -> None:
    slow, other = await opened(node), await opened(node, "r2")
    node.store.conversations_read.shut = True
    slow.say(frames.History(1, "g/a"))
    other.say(frames.Ping(2))
    assert other.of(Pong)[-1].id == 2


async def test_frames_that_wait_at_the_close_are_dropped(node: NodeInMemory) -> None:
    client = await opened(node)
    node.store.conversations_read.shut = True
    client.say(frames.History(1, "g/a"), frames.CreateGroup(2, "late"))
    await node.settle()
    client.connection.on_lost(clean=False)
    node.store.conversations_read.open()
    await node.settle()
    assert "g/late" not in node.store._logs


# Pace.


async def test_reading_pauses_at_the_most_requests_and_goes_on_at_half_of_them() -> None:
    async with running(Settings(limits=Limits(requests_max=4))) as node:
        client = await opened(node)
        client.say(frames.CreateGroup(1, "a"))
        await node.settle()
        node.store.commits.shut = True
        for n in range(3):
            client.say(frames.Send(n, "g/a", f"c{n}", BODY))
            await node.settle()
        assert client.is_read()
        client.say(frames.Send(3, "g/a", "c3", BODY))
        assert not client.is_read()
        node.store.commits.let_one()  # one answer; three still wait
        await node.settle()
        assert not client.is_read()
        node.store.commits.let_one()
        await node.settle()
        assert client.is_read()
        assert client.connection._unanswered == 0


async def test_frames_that_wait_for_their_turn_count_as_requests() -> None:
    async with running(Settings(limits=Limits(requests_max=4))) as node:
        client = await opened(node)
        node.store.conversations_read.shut = True
        client.say(frames.History(1, "g/a"), *[frames.Ack("g/a", 0)] * 3)
        assert not client.is_read()
        node.store.conversations_read.open()
        await node.settle()
        assert client.is_read()


async def test_the_bytes_of_frames_that_wait_are_not_forgotten_with_an_answer(
    node: NodeInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = frames.Signal("g/none", "k", Raw(msgpack.packb(bytes(1_000))))
    monkeypatch.setattr(paced_reading, "REQUEST_BYTES_MAX", 2_500)
    client = await opened(node)
    for number in range(5):  # each of which would have lent the client the bytes of what waits
        node.store.conversations_read.shut = True
        client.say(frames.History(number, "g/a"), *[large] * 2)
        node.store.conversations_read.open()
        await node.settle()
        assert client.is_read()
    node.store.conversations_read.shut = True
    client.say(frames.History(5, "g/a"), *[large] * 3)
    assert not client.is_read()
    node.store.conversations_read.open()
    await node.settle()
    assert client.is_read()


async def test_a_client_that_does_not_take_its_answers_is_not_read_from(
    node: NodeInMemory,
) -> None:
    client = await opened(node)
    client.link.congested = True
    client.say(frames.Ping(1))
    assert not client.is_read()
    client.link.congested = False
    client.connection.on_drained()
    assert client.is_read()


# The port that logic speaks to.


async def test_a_congested_client_takes_no_pushes(node: NodeInMemory) -> None:
    client = await opened(node)
    shared = SharedFrame(Pong(1, 2))
    assert client.connection.push(shared)
    client.link.congested = True
    assert not client.connection.push(shared) and client.connection.congested
    assert len(client.of(Pong)) == 1


def value(rev: int, *, key: str = "k") -> SharedFrame:
    return SharedFrame(SignalValue("g/a", "r2", key, BODY, rev))


async def test_signals_to_a_congested_client_are_kept_by_key_and_the_latest_wins(
    node: NodeInMemory,
) -> None:
    client = await opened(node)
    client.link.congested = True
    for rev, key in enumerate(("k", "l", "k")):
        client.connection.signal(("g/a", "r2", key), value(rev, key=key))
    assert client.of(SignalValue) == []
    client.link.congested = False
    client.connection.on_drained()
    assert sorted((f.key, f.rev) for f in client.of(SignalValue)) == [("k", 2), ("l", 1)]
    client.connection.on_drained()
    assert len(client.of(SignalValue)) == 2


async def test_the_signals_kept_for_a_congested_client_are_bounded(
    node: NodeInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_signals, "SIGNALS_KEPT_MAX", 3)
    client = await opened(node)
    client.link.congested = True
    for rev in range(10):
        client.connection.signal(("g/a", "r2", f"k{rev}"), value(rev))
    client.link.congested = False
    client.connection.on_drained()
    assert [frame.rev for frame in client.of(SignalValue)] == [7, 8, 9]


async def test_a_close_is_said_once_however_often_it_is_asked_for(node: NodeInMemory) -> None:
    client = await opened(node)
    client.connection.close(CloseCode.DRAINING, "node stops", retry_after_ms=7)
    client.connection.close(CloseCode.REPLACED, "too late")
    assert client.of(Bye) == [Bye(CloseCode.DRAINING, "node stops", 7)]
    assert client.link.closes == [CloseCode.DRAINING]


async def test_nothing_is_written_or_taken_in_after_the_close(node: NodeInMemory) -> None:
    client = await opened(node)
    client.connection.close(CloseCode.NORMAL, "enough")
    count = len(client.frames)
    client.say(frames.Ping(1))
    client.connection.send(Pong(1, 2))
    client.connection.answer(Pong(1, 2))
    client.connection.signal(("g/a", "r2", "k"), value(1))
    client.connection.on_drained()
    assert not client.connection.push(SharedFrame(Pong(1, 2)))
    assert len(client.frames) == count


@pytest.mark.parametrize(("clean", "how"), [(True, "clean"), (False, "lost")])
async def test_a_lost_transport_ends_the_session_and_says_how(
    node: NodeInMemory, clean: bool, how: str
) -> None:
    client, watcher = await opened(node, "r2"), await opened(node, "r1")
    watcher.say(frames.CreateGroup(1, "a", ["r2"]))
    await node.settle()
    client.connection.on_lost(clean=clean)
    client.connection.on_lost(clean=clean)
    node.node.sessions._presence._flush()  # type: ignore[attr-defined]
    told = [f for f in watcher.of(SignalValue) if f.sender == "r2"]
    assert msgpack.unpackb(bytes(told[-1].body))["how"] == how
    assert len(node.node.sessions) == 1


async def test_a_client_that_left_during_hello_leaves_no_session(node: NodeInMemory) -> None:
    node.store.memberships_read.shut = True
    client = Client(node.context)
    client.say(node.hello())
    await node.settle()
    client.connection.on_lost(clean=False)
    node.store.memberships_read.open()
    await node.settle()
    assert len(node.node.sessions) == 0 and client.frames == []


async def test_a_late_hello_of_a_lost_connection_does_not_end_the_session_after_it(
    node: NodeInMemory,
) -> None:
    node.store.memberships_read.shut = True
    lost, back = Client(node.context), Client(node.context)
    lost.say(node.hello())
    await node.settle()
    lost.connection.on_lost(clean=False)
    back.say(node.hello())
    await node.settle()
    node.store.memberships_read.let_one(1)  # the newer one is read first
    await node.settle()
    node.store.memberships_read.open()
    await node.settle()
    assert back.connection.state is SessionState.OPEN and back.link.closes == []


async def test_a_replaced_connection_is_told_to_stay_away(node: NodeInMemory) -> None:
    old = await opened(node)
    new = await opened(node)
    assert old.link.closes == [CloseCode.REPLACED] and new.link.closes == []
    old.connection.on_lost(clean=True)
    assert len(node.node.sessions) == 1


async def test_whoami_and_ping_tell_who_and_when(node: NodeInMemory) -> None:
    client = await opened(node, device="spare")
    client.say(frames.WhoAmI(1), frames.Ping(2))
    (ok,) = client.of(Ok)
    assert (ok.result["robot"], ok.result["device"]) == ("r1", "spare")
    assert client.of(Pong) == [Pong(2, node.clock.ms)]
