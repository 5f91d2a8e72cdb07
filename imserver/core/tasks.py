"""The one place that starts tasks: every task belongs to a scope and ends with it.

A task that fails ends its scope, and with it the node: background work never dies unnoticed.
"""

import asyncio
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

CANCEL_AGAIN_S: Final = 5.0
"""How long a cancelled task has to clean up, before it is taken for one whose cancellation was swallowed."""


class TaskScope:
    """A group of tasks with one life (structured concurrency, as in trio's nurseries)."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.cancel_all()
        await self._group.__aexit__(kind, error, trace)

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start ``work``; its failure cancels the whole scope and is raised where the scope ends."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel_all(self) -> None:
        """Cancel every task of the scope that still runs, and again what goes on all the same.

        A library that a task calls may swallow a cancellation (see `heed_cancellation`), and a scope that
        waits for such a task would never end.
        """
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            asyncio.get_running_loop().call_later(CANCEL_AGAIN_S, self.cancel_all)


def heed_cancellation() -> None:
    """Raise the cancellation of this task that something it called has swallowed, if any.

    For loops that call libraries with deadlines: before Python 3.12 ``asyncio.wait_for`` returns a result
    that came in the moment of the cancellation, and the cancellation is lost.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Enclosing(Coroutine[Any, Any, T]):
    """A coroutine that awaits another one, and takes it along if it ends before it has begun.

    A scope that ends closes or cancels what it has not begun; the inner one would then never be awaited, and
    Python complains about that.
    """

    def __init__(self, outer: Coroutine[Any, Any, T], inner: Coroutine[Any, Any, Any]) -> None:
        self._outer = outer
        self._inner = inner

    def send(self, value: Any) -> Any:
        """Go on with the outer one."""
        return self._outer.send(value)

    def throw(self, *problem: Any) -> Any:
        """Raise an error in the outer one."""
        try:
            return self._outer.throw(*problem)
        except BaseException:
            self._inner.close()
            raise

    def close(self) -> None:
        """End both."""
        self._outer.close()
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._outer.__await__()
