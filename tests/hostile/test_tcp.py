"""Raw TCP: what costs memory, and honest robots beside it. Other hostile inputs are in the table."""

import random
from collections.abc import AsyncIterator

import pytest

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import TCP, Fleet, together
from tests.hostile.tcp_line import TOO_LARGE, Line, framed
from tests.hostile.test_floods import MIB, memory_bounded

FRAME_MAX = 320 * 1024
PING = b'{"t":"ping","id":1}'


@pytest.fixture
async def line(target: ServerProcess, gang: Fleet) -> Line:
    """A session."""
    return await Line.in_session(target, gang.name("mallory"))


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


async def test_noise_in_good_frames_is_cut_off(
    target: ServerProcess, gang: Fleet, rng: random.Random
) -> None:
    for number in range(10):
        line = await Line.in_session(target, gang.name(f"r{number}"))
        line.raw.write(b"".join(framed(rng.randbytes(rng.randrange(1, 300))) for _ in range(10)))
        assert await line.rest() == [("error", "bad_frame")] * 3 + [("bye", 1008)]


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
