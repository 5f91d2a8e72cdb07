"""What nobody should send to the raw TCP port; the honest pair beside it must not notice."""

import asyncio
import json
import random
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import TCP, Fleet, together
from tests.hostile.conftest import HELLO_TIMEOUT_S
from tests.hostile.raw_socket import RawSocket
from tests.hostile.test_floods import MIB, memory_bounded

PATIENCE_S = 20
FRAME_MAX = 320 * 1024
PING = b'{"t":"ping","id":1}'
HTTP = b"GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(190)


def framed(payload: bytes, length: int | None = None) -> bytes:
    """Return a frame; ``length`` may lie about the payload."""
    return struct.pack("!I", len(payload) if length is None else length) + payload


class Line:
    """A connection to the TCP port, in JSON."""

    def __init__(self, raw: RawSocket) -> None:
        self.raw = raw

    @classmethod
    async def open(cls, server: ServerProcess, first: bytes = b"IM1J") -> "Line":
        """Connect and say the first bytes."""
        line = cls(await RawSocket.connect(server, port=server.tcp_port))
        line.raw.write(first)
        return line

    @classmethod
    async def in_session(
        cls, server: ServerProcess, robot: str, preface: bytes = b"IM1J"
    ) -> "Line":
        """Connect and say hello with a bearer token."""
        line = await cls.open(server, preface)
        hello = {"t": "hello", "robot": robot, "token": server.token(robot)}
        line.raw.write(framed(json.dumps(hello).encode()))
        assert (await line.read() or {})["t"] == "welcome"
        return line

    async def read(self) -> dict[str, Any] | None:
        """Return the next frame, or None at the end of the connection."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                (length,) = struct.unpack("!I", await self.raw._reader.readexactly(4))
                payload = await self.raw._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        frame: dict[str, Any] = json.loads(payload)
        return frame

    async def rest(self) -> list[tuple[str, Any]]:
        """Return what is said until the end: of each frame its type, and the code or id in it."""
        said = []
        while (frame := await self.read()) is not None:
            if frame["t"] not in ("signal", "deliver"):
                said.append((frame["t"], frame.get("code", frame.get("id"))))
        return said

    def end_writing(self) -> None:
        """Say no more, and go on reading."""
        self.raw._writer.write_eof()


@pytest.fixture
async def line(target: ServerProcess, gang: Fleet) -> Line:
    """A session."""
    return await Line.in_session(target, gang.name("mallory"))


TOO_LARGE = [("error", "too_large"), ("bye", 1009)]


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        (b"\xff\xff\xff\xff", TOO_LARGE),
        (b"\x80\x00\x00\x00" + PING, TOO_LARGE),
        (b"\xff\xff\xff\xed" + PING, TOO_LARGE),
        (b"\xff" * 10 + b"\x01", TOO_LARGE),
        (struct.pack("!I", FRAME_MAX + 1), TOO_LARGE),
        (struct.pack("<I", len(PING)) + PING, TOO_LARGE),
        (framed(PING) + b"\xff" * 4, [("pong", 1), *TOO_LARGE]),
        (framed(PING, len(PING) - 9), [("error", "bad_frame"), *TOO_LARGE]),
        (framed(b"\x00") * 3, [("error", "bad_frame")] * 3 + [("bye", 1008)]),
        (framed(b""), []),
        (framed(PING) + framed(b""), [("pong", 1)]),
        (framed(b"") + framed(PING), []),
        (HTTP, TOO_LARGE),
        (TLS_HELLO, TOO_LARGE),
    ],
    ids=[
        "the largest length",
        "a negative length",
        "a small negative length",
        "a length of eleven bytes",
        "one byte over the limit",
        "a length in the other order of bytes",
        "a good frame before a large one",
        "a length that is too short",
        "frames of one byte",
        "a length of nothing",
        "a goodbye after a request",
        "a request after the goodbye",
        "HTTP in the middle",
        "TLS in the middle",
    ],
)
async def test_a_session_that_breaks_the_framing_is_told_and_closed(
    line: Line, said: bytes, answers: list[tuple[str, Any]]
) -> None:
    line.raw.write(said)
    assert await line.rest() == answers


async def test_a_frame_of_the_limit_is_taken(line: Line) -> None:
    line.raw.write(framed(PING.ljust(FRAME_MAX)))
    assert (await line.read() or {})["t"] == "pong"


async def test_a_huge_length_costs_no_memory(target: ServerProcess, gang: Fleet) -> None:
    with memory_bounded(target, 16 * MIB):
        lines = await together(
            *(Line.in_session(target, gang.name(f"r{number}")) for number in range(20))
        )
        for line in lines:
            line.raw.write(b"\x7f\xff\xff\xff" + bytes(60_000))
        assert await together(*(line.rest() for line in lines)) == [TOO_LARGE] * 20


async def test_a_stream_that_ends_within_a_frame_is_told(line: Line) -> None:
    line.raw.write(framed(PING, len(PING) + 1))
    line.end_writing()
    assert await line.rest() == [("error", "bad_frame"), ("bye", 1002)]


async def test_who_ends_its_half_gets_the_answers_to_what_it_asked(line: Line) -> None:
    ids = range(2, 12)
    for number in ids:
        line.raw.write(framed(f'{{"t":"list_robots","id":{number}}}'.encode()))
    line.end_writing()
    assert await line.rest() == [("ok", number) for number in ids]


async def test_frames_may_come_together_or_byte_by_byte(line: Line) -> None:
    line.raw.write(framed(PING) * 2)
    for byte in framed(PING):
        await line.raw.write_all(bytes([byte]), PATIENCE_S)
    line.raw.write(framed(b""))
    assert await line.rest() == [("pong", 1)] * 3


@pytest.mark.parametrize("said", [b"", b"IM1", b"IM1J", b"IM1J\x00\x00\x00\x13{"])
async def test_who_does_not_come_to_a_hello_is_closed(target: ServerProcess, said: bytes) -> None:
    line = await Line.open(target, said)
    assert await line.raw.wait_end(PATIENCE_S)


async def test_a_hello_that_dribbles_gains_no_time(target: ServerProcess) -> None:
    line = await Line.open(target, b"IM1J" + struct.pack("!I", FRAME_MAX))
    for _ in range(PATIENCE_S * 5):
        line.raw.write(b" ")
        if await line.raw.wait_end(HELLO_TIMEOUT_S / 10):
            return
    raise AssertionError("the deadline is put off by each byte")


async def test_many_silent_connections_are_all_closed(target: ServerProcess) -> None:
    with memory_bounded(target, 16 * MIB):
        silent = [await Line.open(target, b"I") for _ in range(300)]
        assert all(await together(*(line.raw.wait_end(PATIENCE_S) for line in silent)))


@pytest.mark.parametrize("first", [HTTP, TLS_HELLO, b"IM9M", b"\r\n\r\n", b"\x00" * 4, b"*1\r\n"])
async def test_strangers_are_answered_and_closed(target: ServerProcess, first: bytes) -> None:
    line = await Line.open(target, first)
    async with asyncio.timeout(PATIENCE_S):
        answer = await line.raw._reader.read()
    assert answer and b"Traceback" not in answer


@pytest.mark.parametrize("cut", [1, 4, 5, 15])
async def test_a_reset_in_the_middle_of_a_frame_harms_nobody(
    target: ServerProcess, gang: Fleet, cut: int
) -> None:
    for number in range(10):
        line = await Line.in_session(target, gang.name(f"r{number}"))
        await line.raw.write_all(framed(PING)[:cut], PATIENCE_S)
        line.raw.reset()


@pytest.mark.parametrize("first", [b"", b"IM1M", b"IM1J"])
async def test_a_mebibyte_of_noise_is_no_harm(
    target: ServerProcess, rng: random.Random, first: bytes
) -> None:
    line = await Line.open(target, first)
    await line.raw.write_all(rng.randbytes(MIB), PATIENCE_S)
    assert await line.raw.wait_end(PATIENCE_S)


async def test_noise_in_good_frames_is_cut_off(
    target: ServerProcess, gang: Fleet, rng: random.Random
) -> None:
    for number in range(10):
        line = await Line.in_session(target, gang.name(f"r{number}"))
        line.raw.write(b"".join(framed(rng.randbytes(rng.randrange(1, 300))) for _ in range(10)))
        assert await line.rest() == [("error", "bad_frame")] * 3 + [("bye", 1008)]


@pytest.mark.timeout(60)
async def test_requests_whose_answers_nobody_reads_are_held_back(
    target: ServerProcess, gang: Fleet
) -> None:
    line = await Line.in_session(target, gang.name("r1"))
    with memory_bounded(target, 16 * MIB):
        assert await line.raw.is_held_back(framed(PING) * 600_000)
    line.raw.reset()


@pytest.fixture
async def tcp_gang(target: ServerProcess) -> AsyncIterator[Fleet]:
    """Robots that come in over raw TCP."""
    fleet = Fleet(target, TCP)
    yield fleet
    await fleet.aclose()


async def test_honest_robots_on_the_same_port_are_served(tcp_gang: Fleet, line: Line) -> None:
    one, other = await tcp_gang.online("r1"), await tcp_gang.online("r2")
    conv = await tcp_gang.group(one, other)
    line.raw.write(framed(b"\xc1" * 1_000))
    await one.pipeline(conv, range(100))
    line.raw.reset()
    await other.until_seq(conv, 101)
    assert [event["body"] for event in other.logs[conv][1:]] == list(range(100))
