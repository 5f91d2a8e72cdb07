"""Threads that own what must not block the event loop, and the queue that brings them calls.

A `Threads` object serves calls in the order they come, on one thread or several; each thread makes its own
worker (a database connection and what belongs to it), uses it and closes it. The queue has no limit of its
own: every caller waits for its answer, so the callers are the limit.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

import apsw


class Reads(Protocol):
    """Runs a method of a reading connection on its thread."""

    def __call__(
        self, method: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Awaitable[Any]: ...


class Transactions(Protocol):
    """Runs work on the writer's connection, in a transaction of its own."""

    def __call__(self, work: Callable[[apsw.Connection], Any], /) -> Awaitable[Any]: ...


class Worker(Protocol):
    """What a thread of `Threads` works with."""

    def rest(self, *, idle: bool) -> float | None:
        """Do what need not delay an answer: called after each call, and when no call came for as long as
        the last ``rest`` asked for, in seconds (None: until a call comes)."""

    def close(self) -> None:
        """Finish; the thread ends."""


W = TypeVar("W", bound=Worker)
P = ParamSpec("P")
R = TypeVar("R")


class _Answer:
    """An answer on its way from a thread to the event loop that waits for it."""

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self._loop.create_future()

    async def wait(self) -> Any:
        return await self._future

    def settle(self, result: Any, error: BaseException | None) -> None:
        # A closed loop refuses: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._set, result, error)

    def _set(self, result: Any, error: BaseException | None) -> None:
        if self._future.done():
            return  # the caller was cancelled
        if error is None:
            self._future.set_result(result)
        else:
            self._future.set_exception(error)


class _Call(_Answer):
    """A call on its way to a thread."""

    __slots__ = ("_args", "_kwargs", "_method")

    def __init__(
        self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        super().__init__()
        self._method = method
        self._args = args
        self._kwargs = kwargs

    def run(self, worker: object) -> None:
        try:
            result = self._method(worker, *self._args, **self._kwargs)
        except BaseException as exc:  # noqa: BLE001 - it belongs to the caller, on the other side
            self.settle(None, exc)
        else:
            self.settle(result, None)


class Threads(Generic[W]):
    """One or more threads that answer calls from event loops."""

    def __init__(self, name: str, make: Callable[[], W], *, count: int = 1) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._name = name
        self._make = make
        self._count = count
        self._ends: list[_Answer] = []
        self._ending = False

    async def start(self) -> None:
        """Start the threads; return when every one has made its worker.

        Raises:
            Exception: what ``make`` raised; the threads that did start have ended again.
        """
        try:
            for number in range(self._count):
                start, end = _Answer(), _Answer()
                threading.Thread(
                    target=self._serve,
                    args=(start, end),
                    name=f"{self._name}-{number}",
                    daemon=True,
                ).start()
                self._ends.append(end)
                await start.wait()
        except BaseException:
            await self.aclose()
            raise

    async def call(
        self, method: Callable[Concatenate[W, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``method(worker, …)`` on a thread and return what it returns, or raise what it raises.

        A caller that is cancelled does not stop it.
        """
        call = _Call(method, args, kwargs)
        self._calls.put(call)
        result: R = await call.wait()
        return result

    async def aclose(self) -> None:
        """Answer the calls that came before, close the workers and end the threads. Idempotent.

        No call may come after it: nobody would answer.
        """
        if not self._ending:
            self._ending = True
            for _ in self._ends:
                self._calls.put(None)
        for end in self._ends:
            await asyncio.shield(end.wait())

    def _serve(self, start: _Answer, end: _Answer) -> None:
        try:
            worker = self._make()
        except BaseException as exc:  # noqa: BLE001 - it belongs to whoever awaits start()
            start.settle(None, exc)
            end.settle(None, None)
            return
        start.settle(None, None)
        rest_s: float | None = None
        while True:
            try:
                call = self._calls.get(timeout=rest_s)
            except queue.Empty:
                rest_s = worker.rest(idle=True)
                continue
            if call is None:
                break
            call.run(worker)
            del call  # or the last answer would live until the next call
            rest_s = worker.rest(idle=False)
        try:
            worker.close()
        except BaseException as exc:  # noqa: BLE001 - it belongs to whoever awaits aclose()
            end.settle(None, exc)
        else:
            end.settle(None, None)
