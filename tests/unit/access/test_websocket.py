"""The WebSocket transport, driven with raw bytes; websockets' client judges what comes back."""

import json
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode

from imserver.access import messages
from imserver.access.tolls import FRAMES_AT_ONCE
from imserver.core.rate_settings import RateSettings
from imserver.core.settings import AccessSettings, Settings
from imserver.protocol import client_frames as frames
from imserver.protocol.codec import JSON, Codec
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import Bye, Error, Welcome
from tests.unit.access.node_in_memory import NodeInMemory, running
from tests.unit.access.raw_client import (
    CODECS,
    RawClient,
    frame,
    masked,
    message,
    opened,
    ping,
    pongs,
    upgraded,
)

BOTH = pytest.mark.parametrize("codec", CODECS, ids=["msgpack", "json"])
SMALL = Settings(limits=Limits(body_bytes_max=500, frame_bytes_max=1_000))


@pytest.fixture
async def node() -> AsyncIterator[NodeInMemory]:
    async with running() as node:
        yield node


# The opening handshake.


@BOTH
async def test_a_handshake_takes_the_subprotocol_that_is_asked_for(
    node: NodeInMemory, codec: Codec
) -> None:
    client = RawClient(node.door, codec=codec)
    response = await client.upgrade()
    assert response.status_code == 101
    assert response.headers["Sec-WebSocket-Protocol"] == codec.name
    await client.say(frames.Ping(1))
    (error,) = client.frames
    assert isinstance(error, Error) and error.code is ErrorCode.UNAUTHENTICATED


async def test_without_a_subprotocol_messagepack_is_spoken(node: NodeInMemory) -> None:
    client = RawClient(node.door)
    response = await client.upgrade(subprotocols=())
    assert response.status_code == 101 and "Sec-WebSocket-Protocol" not in response.headers
    await client.say(node.hello())
    assert isinstance(client.frames[-1], Welcome)


async def test_other_paths_are_not_found(node: NodeInMemory) -> None:
    client = RawClient(node.door)
    response = await client.upgrade("/v1/other")
    assert response.status_code == 404 and b"/v1/connect" in (response.body or b"")
    assert client.transport.is_closed() and len(node.door) == 0


async def test_a_query_does_not_matter(node: NodeInMemory) -> None:
    client = RawClient(node.door)
    assert (await client.upgrade("/v1/connect?x=1")).status_code == 101


@pytest.mark.parametrize(
    ("settings", "status"),
    [({"subprotocols": ("mqtt",)}, 400), ({"origin": "https://evil.example"}, 403)],
)
async def test_a_handshake_that_is_not_for_us_is_refused_and_closed(
    node: NodeInMemory, settings: dict[str, Any], status: int
) -> None:
    client = RawClient(node.door)
    assert (await client.upgrade(**settings)).status_code == status
    assert client.transport.is_closed() and len(node.door) == 0


async def test_a_page_that_is_allowed_may_connect() -> None:
    allowed = Settings(access=AccessSettings(origins=("https://good.example",)))
    async with running(allowed) as node:
        client = RawClient(node.door)
        assert (await client.upgrade(origin="https://good.example")).status_code == 101


async def test_one_connection_too_many_is_turned_away_for_the_moment() -> None:
    async with running(Settings(access=AccessSettings(connections_max=1))) as node:
        first = await upgraded(node)
        client = RawClient(node.door)
        response = await client.upgrade()
        assert response.status_code == 503 and int(response.headers["Retry-After"]) > 0
        assert node.counted("imserver_connections_turned_away_total") == 1
        first.transport.abort()
        await first.tick()
        await upgraded(node)


async def test_a_draining_node_turns_everybody_away(node: NodeInMemory) -> None:
    node.door.drain()
    client = RawClient(node.door)
    assert (await client.upgrade()).status_code == 503


# Messages.


@BOTH
async def test_messages_of_every_length_form_arrive(node: NodeInMemory, codec: Codec) -> None:
    client = await opened(node, codec)
    for n, size in enumerate((0, 125, 126, 65_535, 65_536, 200_000)):
        padding = "x" * size
        fields = {"t": "ping", "id": n, "padding": padding}
        raw = msgpack.packb(fields) if codec.binary else json.dumps(fields).encode()
        client.feed(message(raw, codec))
        await client.tick()
        assert pongs(client)[-1] == n


@BOTH
async def test_large_answers_arrive_in_one_message(node: NodeInMemory, codec: Codec) -> None:
    client = await opened(node, codec)
    for size in (100, 130, 70_000):
        client.link.write(client.link.form.encode(Bye(1000, "x" * size)))
        await client.tick()
        assert client.frames[-1] == Bye(1000, "x" * size)


async def test_many_messages_in_one_piece_are_taken_in_order(node: NodeInMemory) -> None:
    client = await opened(node)
    client.feed(b"".join(message(ping(n)) for n in range(50)))
    await client.tick()
    assert pongs(client) == list(range(50))


async def test_answers_of_one_tick_are_one_write(node: NodeInMemory) -> None:
    client = await opened(node)
    writes = len(client.transport.writes)
    client.feed(b"".join(message(ping(n)) for n in range(FRAMES_AT_ONCE)))
    await client.tick()
    assert len(client.transport.writes) == writes + 1


@settings(max_examples=60, deadline=None)
@given(data=st.data())
async def test_a_stream_means_the_same_however_it_is_cut_into_pieces(data: st.DataObject) -> None:
    """Among the pieces are masks that look like the beginning of a frame."""
    masks = st.sampled_from([b"\x82\x82\x82\x82", b"\x82\x80\x00\x00", b"\x82\x81\x01\x02"])
    parts: list[bytes] = []
    for n in range(data.draw(st.integers(1, 6))):
        kind = data.draw(st.sampled_from(("whole", "parts", "ping")))
        if kind == "ping":
            parts.append(masked(b"beat", data.draw(masks), first_byte=0x89))
        elif kind == "whole":
            parts.append(masked(ping(n), data.draw(masks)))
        else:
            raw = ping(n)
            parts.append(masked(raw[:4], data.draw(masks), first_byte=0x02))
            parts.append(masked(raw[4:], data.draw(masks), first_byte=0x80))
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream)), max_size=8)))
    async with running() as node:
        whole, cut = await opened(node), await opened(node, robot="r2")
        whole.feed(stream)
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            if start < end:
                cut.feed(stream[start:end])
        await whole.tick()
        await cut.tick()
        assert pongs(cut) == pongs(whole)
        assert cut.control(Opcode.PONG) == whole.control(Opcode.PONG)
        assert cut.close_code is None


@pytest.mark.parametrize("cut", [1, 2, 3, 6, 7])
async def test_a_mask_that_looks_like_a_frame_is_none(node: NodeInMemory, cut: int) -> None:
    client = await opened(node)
    data = masked(ping(7), b"\x82\x80\x82\x80") + masked(ping(8), b"\x82\x82\x82\x82")
    client.feed(data[:cut])
    client.feed(data[cut:])
    await client.tick()
    assert pongs(client) == [7, 8] and client.close_code is None


@BOTH
async def test_fragments_are_one_message(node: NodeInMemory, codec: Codec) -> None:
    client = await opened(node, codec)
    raw = ping(7, codec)
    client.feed(message(raw[:2], codec, fin=False))
    client.feed(frame(Opcode.PING, b"between"))
    client.feed(frame(Opcode.CONT, raw[2:4], fin=False) + frame(Opcode.CONT, raw[4:]))
    client.feed(message(ping(8, codec), codec))
    await client.tick()
    assert pongs(client) == [7, 8]
    assert client.control(Opcode.PONG) == [b"between"]


@pytest.mark.parametrize("between", [b"", frame(Opcode.PING, b"beat")], ids=["nothing", "a ping"])
async def test_a_message_within_another_breaks_the_rfc(node: NodeInMemory, between: bytes) -> None:
    client = await opened(node)
    client.feed(message(b"\x82", fin=False) + between)
    client.feed(message(ping(1)))
    await client.tick()
    assert client.close_code == CloseCode.PROTOCOL_ERROR and pongs(client) == []


async def test_a_letter_cut_in_two_by_fragments_is_whole_again(node: NodeInMemory) -> None:
    client = await opened(node, JSON)
    raw = '{"t":"ping","id":7,"x":"ä"}'.encode()
    middle = raw.index("ä".encode()) + 1
    client.feed(message(raw[:middle], JSON, fin=False) + frame(Opcode.CONT, raw[middle:]))
    await client.tick()
    assert pongs(client) == [7]


async def test_a_message_in_far_too_many_empty_fragments_is_closed(
    node: NodeInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "EMPTY_FRAGMENTS_MAX", 5)
    client = await opened(node)
    client.feed(message(b"\x82", fin=False) + frame(Opcode.CONT, b"", fin=False) * 20)
    await client.tick()
    error = client.frames[-1]
    assert isinstance(error, Error) and error.fatal and "5 empty" in error.message
    assert client.close_code == CloseCode.POLICY and client.transport.is_closed()


@pytest.mark.parametrize(
    "first", [message(b"x", JSON), message(b"x", JSON, fin=False)], ids=["whole", "a fragment"]
)
async def test_text_on_a_binary_subprotocol_is_a_bad_frame(
    node: NodeInMemory, first: bytes
) -> None:
    client = await opened(node)
    client.feed(first)
    if not first[0] & 0x80:
        client.feed(frame(Opcode.CONT, b"y"))
    client.feed(message(ping(2)))
    await client.tick()
    (error,) = [f for f in client.frames if isinstance(f, Error)]
    assert error.code is ErrorCode.BAD_FRAME and "binary" in error.message
    assert pongs(client) == [2]


async def test_binary_on_a_text_subprotocol_is_a_bad_frame(node: NodeInMemory) -> None:
    client = await opened(node, JSON)
    client.feed(message(ping(1)))
    await client.tick()
    error = client.frames[-1]
    assert isinstance(error, Error) and "text" in error.message


@BOTH
async def test_a_frame_over_the_limit_gets_an_error_and_then_1009(codec: Codec) -> None:
    async with running(SMALL) as node:
        client = await opened(node, codec)
        client.feed(message(b" " * 1_001, codec))
        await client.tick()
        error = client.frames[-1]
        assert isinstance(error, Error)
        assert (error.code, error.fatal) == (ErrorCode.TOO_LARGE, True) and "1000" in error.message
        assert client.close_code == CloseCode.TOO_BIG
        assert client.transport.is_closed()


async def test_a_frame_of_just_the_limit_is_taken() -> None:
    async with running(SMALL) as node:
        client = await opened(node, JSON)
        client.feed(message(ping(1, JSON).ljust(1_000), JSON))
        await client.tick()
        assert pongs(client) == [1]


async def test_fragments_that_are_too_much_together_are_over_the_limit() -> None:
    async with running(SMALL) as node:
        client = await opened(node)
        client.feed(message(bytes(600), fin=False))
        client.feed(frame(Opcode.CONT, bytes(600)))
        await client.tick()
        assert client.close_code == CloseCode.TOO_BIG


async def test_text_that_is_not_utf8_gets_an_error_and_then_1007(node: NodeInMemory) -> None:
    client = await opened(node, JSON)
    await client.say(frames.CreateGroup(1, "a"))
    await node.settle()
    late = message(b'{"t":"send","id":2,"conv":"g/a","cid":"c","body":1}', JSON)
    client.feed(message(b'{"t":"ping","id":1,"x":"\xff"}', JSON) + late)
    await client.tick()
    await node.settle()
    error = client.frames[-1]
    assert isinstance(error, Error) and error.fatal and error.code is ErrorCode.BAD_FRAME
    assert client.close_code == 1007 and client.transport.is_closed()
    events = node.store._logs["g/a"].events
    assert len(events) == 1, "what follows in the same piece is not carried out"


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x01x",  # not masked
        b"\xc2\x81\x00\x00\x00\x00x",  # a reserved bit
        b"\x83\x80\x00\x00\x00\x00",  # a reserved opcode
        b"\x80\x80\x00\x00\x00\x00",  # a continuation of nothing
        b"\x09\x80\x00\x00\x00\x00",  # a ping in fragments
        b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + bytes(126),  # a ping too long
        b"\x88\x81\x00\x00\x00\x00x",  # a close with half a code
    ],
)
async def test_what_breaks_the_rfc_is_closed_with_1002(node: NodeInMemory, data: bytes) -> None:
    client = await opened(node)
    client.feed(data)
    await client.tick()
    assert client.close_code == CloseCode.PROTOCOL_ERROR and client.transport.is_closed()
    assert len(node.door) == 0


async def test_a_ping_is_answered_with_its_payload(node: NodeInMemory) -> None:
    client = await opened(node)
    client.feed(frame(Opcode.PING, b"beat"))
    await client.tick()
    assert client.control(Opcode.PONG) == [b"beat"]


@BOTH
async def test_a_ping_is_answered_before_the_messages_around_it(
    node: NodeInMemory, codec: Codec
) -> None:
    client = await opened(node, codec)
    raw = ping(7, codec)
    client.feed(message(raw[:2], codec, fin=False) + frame(Opcode.PING, b"beat"))
    client.feed(frame(Opcode.CONT, raw[2:]) + message(ping(8, codec), codec) + frame(Opcode.PING))
    await client.tick()
    kinds = [event.opcode for event in client.events[-4:]]
    data = Opcode.BINARY if codec.binary else Opcode.TEXT
    assert kinds == [Opcode.PONG, Opcode.PONG, data, data] and pongs(client) == [7, 8]


@pytest.mark.parametrize(
    "flood",
    [
        frame(Opcode.PING) * 600,
        frame(Opcode.BINARY, b"x", fin=False) + frame(Opcode.CONT, b"x", fin=False) * 500,
    ],
    ids=["pings", "fragments"],
)
async def test_a_flood_of_frames_that_are_no_messages_is_closed_and_delays_nobody_else(
    flood: bytes,
) -> None:
    rates = RateSettings(robot_frames_per_s=10.0, burst_s=1.0, pause_s_max=1.0, refusals_max=100)
    async with running(Settings(rates=rates)) as node:
        flooder, other = await opened(node), await upgraded(node)
        await other.say(frames.Hello("r1", "other", token=node.bearer_token("r1")))
        flooder.feed(flood)
        await flooder.tick()
        assert flooder.close_code == CloseCode.OVERLOADED
        bye = flooder.frames[-1]
        assert isinstance(bye, Bye)
        assert bye.retry_after == 1_000
        node.clock.s += 1.0
        await other.say(frames.Ping(1))
        assert pongs(other) == [1]


async def test_what_was_asked_before_a_goodbye_is_answered_before_it(node: NodeInMemory) -> None:
    client = await opened(node)
    client.feed(frame(Opcode.PING) + message(ping(1)) + frame(Opcode.CLOSE, b"\x03\xe8"))
    await client.tick()
    kinds = [event.opcode for event in client.events[-3:]]
    assert sorted(kinds[:2]) == [Opcode.BINARY, Opcode.PONG] and kinds[2] is Opcode.CLOSE


async def test_a_client_that_says_too_big_is_not_told_so(node: NodeInMemory) -> None:
    client = await opened(node)
    count = len(client.frames)
    client.feed(frame(Opcode.CLOSE, b"\x03\xf1"))
    await client.tick()
    assert client.close_code == CloseCode.TOO_BIG and len(client.frames) == count
