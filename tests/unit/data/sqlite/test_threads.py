"""Threads answer calls in order, hand errors back, and end when they are told to."""

import asyncio
import threading

import pytest

from imserver.data.sqlite.threads import Threads
from tests.until import PATIENCE_S


class Notebook:
    """A worker that remembers what it was told, and may wait at a gate."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.thread = threading.current_thread()
        self.gate = threading.Event()
        self.rests: list[bool] = []

    def write(self, line: str) -> list[str]:
        assert threading.current_thread() is self.thread
        self.lines.append(line)
        return list(self.lines)

    def wait(self) -> None:
        assert self.gate.wait(10)

    def fail(self) -> None:
        raise ValueError("no such page")

    def rest(self, *, idle: bool) -> float | None:
        self.rests.append(idle)
        return None if idle else 0.001

    def close(self) -> None:
        self.lines.append("closed")


async def start() -> tuple[Threads[Notebook], Notebook]:
    made: list[Notebook] = []

    def make() -> Notebook:
        made.append(Notebook())
        return made[-1]

    threads = Threads("notebook", make)
    await threads.start()
    return threads, made[0]


async def test_calls_are_answered_in_their_order():
    threads, _ = await start()
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(threads.call(Notebook.write, str(n))) for n in range(5)]
    assert [call.result() for call in calls] == [[str(n) for n in range(m + 1)] for m in range(5)]
    await threads.aclose()


async def test_an_error_reaches_its_caller_alone():
    threads, _ = await start()
    with pytest.raises(ValueError, match="no such page"):
        await threads.call(Notebook.fail)
    assert await threads.call(Notebook.write, "a") == ["a"]
    await threads.aclose()


async def test_closing_waits_for_the_calls_before_it_and_ends_the_thread():
    threads, notebook = await start()
    waiting = asyncio.create_task(threads.call(Notebook.wait))
    writing = asyncio.create_task(threads.call(Notebook.write, "a"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(threads.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    notebook.gate.set()
    await asyncio.wait([waiting, writing, closing])
    assert notebook.lines == ["a", "closed"]
    notebook.thread.join(10)
    assert not notebook.thread.is_alive()
    await threads.aclose()


async def test_an_idle_worker_gets_its_rest():
    threads, notebook = await start()
    await threads.call(Notebook.write, "a")
    async with asyncio.timeout(PATIENCE_S):
        while True not in notebook.rests:
            await asyncio.sleep(0.005)
    assert notebook.rests[0] is False
    await threads.aclose()


async def test_a_worker_that_cannot_be_made_fails_the_start():
    def make() -> Notebook:
        raise OSError("no paper")

    with pytest.raises(OSError, match="no paper"):
        await Threads("notebook", make, count=2).start()
