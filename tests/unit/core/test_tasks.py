"""Coroutines that take along what they enclose, however they end."""

import asyncio
import contextlib
import gc
import inspect
from collections.abc import Coroutine
from typing import Any

import pytest

from imserver.core import tasks
from imserver.core.tasks import Enclosing, TaskScope, heed_cancellation


class Work:
    """A piece of work within another, and how far both came."""

    def __init__(self) -> None:
        self.began = self.ended = False
        self.inner = self._inner()

    async def _inner(self) -> str:
        self.began = True
        await asyncio.sleep(0)
        return "done"

    async def _outer(self) -> str:
        result = await self.inner
        self.ended = True
        return result

    def enclosing(self) -> Coroutine[Any, Any, str]:
        return Enclosing(self._outer(), self.inner)

    @property
    def is_over(self) -> bool:
        return inspect.getcoroutinestate(self.inner) == inspect.CORO_CLOSED


async def test_it_gives_what_its_outer_one_gives() -> None:
    work = Work()
    assert await work.enclosing() == "done"
    assert work.ended and work.is_over


async def test_it_runs_as_a_task() -> None:
    work = Work()
    async with TaskScope() as scope:
        task = scope.spawn(work.enclosing(), name="work")
    assert task.result() == "done"


async def test_the_inner_one_is_not_left_over_when_nothing_was_begun() -> None:
    work = Work()
    work.enclosing().close()
    assert work.is_over and not work.began
    gc.collect()  # a coroutine that was never awaited is a warning, and that a failure


async def test_the_inner_one_is_not_left_over_when_the_task_is_cancelled_before_it_begins() -> None:
    work = Work()
    task = asyncio.get_running_loop().create_task(work.enclosing())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.is_over and not work.began
    gc.collect()


async def test_the_inner_one_is_not_left_over_when_the_outer_one_waits_for_something_else() -> None:
    work = Work()
    gate = asyncio.Event()

    async def outer() -> None:
        await gate.wait()
        await work.inner

    task = asyncio.get_running_loop().create_task(Enclosing(outer(), work.inner))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.is_over
    gc.collect()


async def test_a_cancelled_inner_one_may_clean_up() -> None:
    cleaned = []

    async def inner() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("inner")

    work = inner()

    async def outer() -> None:
        await work

    task = asyncio.get_running_loop().create_task(Enclosing(outer(), work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["inner"]


async def test_a_cancellation_that_was_swallowed_is_heeded_later() -> None:
    heeded = False

    async def stubborn() -> None:
        nonlocal heeded
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3_600)
        try:
            heed_cancellation()
        except asyncio.CancelledError:
            heeded = True
            raise

    async with TaskScope() as scope:
        scope.spawn(stubborn(), name="stubborn")
        await asyncio.sleep(0)
        scope.cancel_all()
    assert heeded


async def test_without_a_cancellation_there_is_nothing_to_heed() -> None:
    heed_cancellation()


async def deaf(times: int) -> None:
    """Go on however often it is cancelled, until it was so many times."""
    for _ in range(times):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3_600)
    await asyncio.sleep(3_600)


async def test_a_scope_ends_whose_task_has_its_cancellation_swallowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_AGAIN_S", 0.01)
    async with TaskScope() as scope:
        scope.spawn(deaf(2), name="deaf")
        await asyncio.sleep(0)
        scope.cancel_all()


async def test_a_scope_that_fails_ends_too_whose_task_has_its_cancellation_swallowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_AGAIN_S", 0.01)
    with pytest.raises(ExceptionGroup):
        await failing_beside(deaf(2))


async def failing_beside(work: Coroutine[Any, Any, None]) -> None:
    async with TaskScope() as scope:
        scope.spawn(work, name="deaf")
        await asyncio.sleep(0)
        raise ValueError
