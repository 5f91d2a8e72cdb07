"""Compressed frames that are none, too much, or against the rules, over WebSockets and raw TCP."""

import random
import zlib

import pytest

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet
from tests.hostile.deflate_session import RSV1, SYNC, DeflateSession, message, shrunk
from tests.hostile.raw_socket import BINARY, CONT, PING, RawSocket, frame
from tests.hostile.tcp_line import TOO_LARGE, Line
from tests.hostile.test_floods import MIB, memory_bounded
from tests.hostile.websocket_cases.speech import MSGPACK, Speech

FRAME_MAX = 320 * 1024
PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009
COMPRESSED = 0x8000_0000
SPEECH = Speech(MSGPACK, "g/none")
ZEROS = zlib.compress(bytes(64 * MIB), 9, -15)
"""Some 64 KiB of which 64 MiB come out."""


@pytest.fixture
async def session(target: ServerProcess, gang: Fleet) -> DeflateSession:
    """A session that agreed on compression."""
    return await DeflateSession.open(target, gang.name("mallory"))


def ask(number: int, size: int) -> bytes:
    """Return a request of a size that is answered at once."""
    return SPEECH.ask(number, size)


# Sizes.


@pytest.mark.parametrize("cut", [0, 1_000, 7])
async def test_what_comes_out_may_have_the_size_of_the_limit(
    session: DeflateSession, cut: int
) -> None:
    session.say(ask(1, FRAME_MAX), cut)
    assert (await session.until(lambda fields: "id" in fields))["t"] == "pong"


@pytest.mark.parametrize("over", [1, 2, 1_000])
@pytest.mark.parametrize("cut", [0, 100])
async def test_what_comes_out_may_not_have_one_byte_more(
    session: DeflateSession, over: int, cut: int
) -> None:
    session.say(ask(1, FRAME_MAX + over), cut)
    assert await session.ending() == (["too_large"], TOO_BIG)


@pytest.mark.parametrize("over", [0, 1, 2])
async def test_of_what_cannot_be_compressed_the_same_size_counts(
    session: DeflateSession, over: int
) -> None:
    plain = ask(1, FRAME_MAX + over)
    noise = random.Random(3).randbytes(len(plain))
    payload = plain[:40] + noise[40:]  # within the padding
    session.say(payload)
    if over:
        assert await session.ending() == (["too_large"], TOO_BIG)
    else:
        assert (await session.until(lambda fields: "id" in fields))["t"] == "pong"


@pytest.mark.parametrize("cut", [0, 100])
async def test_a_bomb_is_cut_off_at_the_limit(target: ServerProcess, gang: Fleet, cut: int) -> None:
    with memory_bounded(target, 32 * MIB):
        for number in range(10):
            session = await DeflateSession.open(target, gang.name(f"r{number}"))
            session.raw.write(message(BINARY, ZEROS[:-10], cut))
            assert await session.ending() == (["too_large"], TOO_BIG)


async def test_many_messages_in_little_are_taken_a_few_at_a_time(
    target: ServerProcess, session: DeflateSession
) -> None:
    count = 300
    with memory_bounded(target, 32 * MIB):
        session.raw.write(
            b"".join(message(BINARY, shrunk(ask(n, FRAME_MAX))) for n in range(count))
        )
        for number in range(count):
            answer = await session.until(lambda fields: "id" in fields)
            assert (answer["t"], answer["id"]) == ("pong", number)


async def test_who_compresses_costs_no_memory_in_between(
    target: ServerProcess, gang: Fleet
) -> None:
    with memory_bounded(target, 20 * MIB):  # a context in each direction would be some 300 KiB each
        for number in range(150):
            session = await DeflateSession.open(target, gang.name(f"r{number}"))
            session.say(ask(1, 60_000))
            await session.until(lambda fields: fields.get("id") == 1)


# What is no compressed message.


@pytest.mark.parametrize(
    "compressed",
    [
        b"\xff\xff\xff",
        shrunk(ask(1, 3_000))[:-5],
        zlib.compress(ask(1, 100), wbits=-15) + b"more",
        zlib.compress(ask(1, 100)),
        zlib.compress(ask(1, 100), wbits=31),
    ],
    ids=["noise", "cut off", "something behind the end", "zlib's format", "gzip's format"],
)
async def test_what_is_no_compressed_message_ends_the_connection(
    session: DeflateSession, compressed: bytes
) -> None:
    session.raw.write(message(BINARY, compressed))
    errors, code = await session.ending()
    assert code == PROTOCOL_ERROR and not errors


async def test_a_message_may_not_refer_to_the_one_before(session: DeflateSession) -> None:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    for _ in range(2):
        compressed = stream.compress(ask(1, 1_000)) + stream.flush(zlib.Z_SYNC_FLUSH)
        session.raw.write(message(BINARY, compressed.removesuffix(SYNC)))
    assert (await session.ending())[1] == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "frames",
    [
        frame(BINARY, shrunk(ask(1, 100))[:5], fin=False, rsv=RSV1)
        + frame(CONT, shrunk(ask(1, 100))[5:], rsv=RSV1),
        frame(BINARY, ask(1, 100)[:5], fin=False) + frame(CONT, ask(1, 100)[5:], rsv=RSV1),
        frame(PING, b"x", rsv=RSV1),
        frame(BINARY, shrunk(ask(1, 100)), rsv=RSV1 | 2),
    ],
    ids=["a second fragment", "of a plain message", "a ping", "another bit as well"],
)
async def test_the_bit_belongs_to_the_first_frame_of_a_message(
    session: DeflateSession, frames: bytes
) -> None:
    session.raw.write(frames)
    assert (await session.ending())[1] == PROTOCOL_ERROR


async def test_who_agreed_on_nothing_may_not_compress(target: ServerProcess, gang: Fleet) -> None:
    raw = await RawSocket.upgraded(target)
    raw.write(message(BINARY, shrunk(ask(1, 100))))
    assert await raw.close_code() == PROTOCOL_ERROR


async def test_compressed_text_must_be_utf8(target: ServerProcess, gang: Fleet) -> None:
    session = await DeflateSession.open(target, gang.name("r1"), codec="json")
    session.say(b'{"t":"ping","id":1,"x":"\xc3"}')
    assert await session.ending() == (["bad_frame"], INVALID_DATA)


# Raw TCP.


def tcp_frame(payload: bytes) -> bytes:
    """Return a compressed frame as raw TCP has it."""
    compressed = zlib.compress(payload, wbits=-15)
    return (COMPRESSED | len(compressed)).to_bytes(4) + compressed


def padded(size: int) -> bytes:
    """Return a request of a size, in JSON."""
    return b'{"t":"ping","id":1}'.ljust(size)


@pytest.fixture
async def line(target: ServerProcess, gang: Fleet) -> Line:
    """A session over raw TCP whose frames may be compressed."""
    return await Line.in_session(target, gang.name("mallory"), b"IM1j")


async def test_over_raw_tcp_the_limit_is_as_exact(line: Line) -> None:
    line.raw.write(tcp_frame(padded(FRAME_MAX)) + tcp_frame(padded(FRAME_MAX + 1)))
    assert await line.rest() == [("pong", 1), *TOO_LARGE]


async def test_over_raw_tcp_a_bomb_is_cut_off_at_the_limit(
    target: ServerProcess, line: Line
) -> None:
    with memory_bounded(target, 16 * MIB):
        line.raw.write((COMPRESSED | len(ZEROS)).to_bytes(4) + ZEROS)
        assert await line.rest() == TOO_LARGE


async def test_over_raw_tcp_many_frames_in_little_are_taken_a_few_at_a_time(
    target: ServerProcess, line: Line
) -> None:
    with memory_bounded(target, 32 * MIB):
        line.raw.write(tcp_frame(padded(FRAME_MAX)) * 300 + bytes(4))
        assert await line.rest() == [("pong", 1)] * 300


@pytest.mark.parametrize(
    "said",
    [
        (COMPRESSED | 3).to_bytes(4) + b"\xff\xff\xff",
        COMPRESSED.to_bytes(4),
        tcp_frame(b""),
        tcp_frame(padded(100))[:4] + b"\x00" * 40,
        (COMPRESSED | 20).to_bytes(4) + zlib.compress(padded(30), wbits=-15)[:20],
    ],
    ids=["noise", "nothing", "nothing within", "zeros", "cut off"],
)
async def test_over_raw_tcp_what_is_no_compressed_frame_is_told(line: Line, said: bytes) -> None:
    line.raw.write(said)
    line.end_writing()
    assert await line.rest() == [("error", "bad_frame"), ("bye", 1002)]


async def test_over_raw_tcp_the_largest_length_is_still_refused(line: Line) -> None:
    line.raw.write(b"\xff\xff\xff\xff")
    assert await line.rest() == TOO_LARGE
