"""Virtual time: one queue of what is to happen, and event loops that live in it.

Each simulated process has an event loop of its own, as real processes have. Within a process callbacks run
first in, first out, because asyncio promises that and code may rely on it. Between processes nothing is
promised, and nothing is shared but the network and the disk: what those bring, and when, is drawn from the
seed. A turn of a loop takes time, so that work queues up behind it; a process can be paused for a while, and
it can be killed between any two callbacks.
"""

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.simulation.trace import Trace

WALL_START_MS = 1_750_000_000_000
_THREAD_S = (0.000_1, 0.004)


class Timeline:
    """What is to happen, by virtual time; things of the same time happen in the order they were planned."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def at(self, when_s: float, act: Callable[..., object], *args: Any) -> None:
        """Have ``act`` called at ``when_s``."""
        heapq.heappush(self._due, (when_s, next(self._numbers), act, args))

    def after(self, wait_s: float, act: Callable[..., object], *args: Any) -> None:
        """Have ``act`` called in ``wait_s`` seconds."""
        self.at(self.now_s + wait_s, act, *args)

    def run_until(self, end_s: float, *, steps_max: int) -> int:
        """Let everything happen up to ``end_s``, at most ``steps_max`` things; return how many did."""
        due, steps = self._due, 0
        while due and due[0][0] <= end_s and steps < steps_max:
            when_s, _, act, args = heapq.heappop(due)
            if when_s > self.now_s:
                self.now_s = when_s
            act(*args)
            steps += 1
        if steps < steps_max and end_s > self.now_s:
            self.now_s = end_s
        return steps


_Loop: Any = asyncio.AbstractEventLoop  # whose stubs demand sockets, threads and signals as well


class SimLoop(_Loop):  # type: ignore[misc]
    """The event loop of one life of one simulated process.

    Attributes:
        name: which process, which life.
        dice: the process's own randomness.
        alive: it runs, or would if it were not paused; a dead one does nothing ever again.
        wall_skew_ms: how far its calendar clock is from the simulated time.
        steps: callbacks run.
    """

    def __init__(
        self, timeline: Timeline, trace: Trace, name: str, *, dice: random.Random, step_s: float
    ) -> None:
        self._timeline = timeline
        self._trace = trace
        self._step_s = step_s
        self._ready: deque[asyncio.Handle] = deque()
        self._is_due = False
        self._busy_until_s = 0.0
        self._fuse = 0
        self._on_blown: Callable[[], None] | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self.name = name
        self.dice = dice
        self.alive = True
        self.wall_skew_ms = 0.0
        self.steps = 0
        self.create_connection: Any = None  # the network's, set by whoever starts the process

    # What the simulation does to a process.

    def pause(self, seconds: float) -> None:
        """Let the process stand still, as SIGSTOP does."""
        self._busy_until_s = max(self._busy_until_s, self._timeline.now_s) + seconds

    def light_fuse(self, steps: int, on_blown: Callable[[], None]) -> None:
        """Call ``on_blown`` between two callbacks, ``steps`` callbacks from now."""
        if not self._fuse:
            self._fuse, self._on_blown = steps, on_blown

    def put_fuse_out(self) -> None:
        """Spare the process."""
        self._fuse = 0

    def die(self) -> None:
        """Never run anything again."""
        self.alive = False
        self._ready.clear()

    def bury(self) -> None:
        """Take apart what a dead process left, without a word of it reaching the living."""
        self.alive = False
        asyncio.events._set_running_loop(self)
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if not task.done():
                _close_quietly(task)
        asyncio.events._set_running_loop(None)
        self._tasks.clear()

    def wall_ms(self) -> float:
        """Return what the process's calendar clock says, in milliseconds since 1970."""
        return WALL_START_MS + self._timeline.now_s * 1_000 + self.wall_skew_ms

    def inside(self, act: Callable[..., Any], *args: Any) -> Any:
        """Call ``act`` as a part of the process; return its result."""
        asyncio.events._set_running_loop(self)
        try:
            return act(*args)
        finally:
            asyncio.events._set_running_loop(None)

    # asyncio.AbstractEventLoop, as far as code without sockets and threads needs it.

    def time(self) -> float:
        return self._timeline.now_s

    def is_running(self) -> bool:
        return asyncio.events._get_running_loop() is self

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self.alive:
            self._ready.append(handle)
            if not self._is_due:
                self._make_due()
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._timeline.now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if self.alive:
            self._timeline.at(max(when, self._timeline.now_s), self._on_timer, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > 256:
            self._tasks = [task for task in self._tasks if not task.done()]
        return task

    def run_in_executor(
        self, _executor: Any, work: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Have a thread do ``work``: at some moment, and be told of it at a later one."""
        future = self.create_future()
        done_s, told_s = (self.dice.uniform(*_THREAD_S) for _ in range(2))
        self._timeline.after(done_s, self._work, work, args, (future, told_s))
        return future

    def _work(
        self,
        work: Callable[..., Any],
        args: tuple[Any, ...],
        then: tuple[asyncio.Future[Any], float],
    ) -> None:
        if not self.alive:
            return
        future, told_s = then
        try:
            result, error = work(*args), None
        except Exception as exc:  # noqa: BLE001  it is raised where the thread is waited for
            result, error = None, exc
        self._timeline.after(told_s, self.call_soon, _settle, future, result, error)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.alive and not isinstance(error, asyncio.CancelledError):
            self._trace.problem("callback failed", f"{self.name}: {context['message']}: {error!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to do: a cancelled handle is skipped when its time comes."""

    def _on_timer(self, handle: asyncio.TimerHandle) -> None:
        if self.alive and not handle.cancelled():
            self._ready.append(handle)
            if not self._is_due:
                self._make_due()

    def _make_due(self) -> None:
        self._is_due = True
        self._timeline.at(max(self._busy_until_s, self._timeline.now_s), self._turn)

    def _turn(self) -> None:
        if self._busy_until_s > self._timeline.now_s and self.alive:  # paused meanwhile
            self._make_due()
            return
        ready = self._ready
        count = len(ready)
        asyncio.events._set_running_loop(self)
        try:
            self._run(ready, count)
        finally:
            asyncio.events._set_running_loop(None)
        self._busy_until_s = max(self._busy_until_s, self._timeline.now_s + count * self._step_s)
        self._is_due = False  # only now: what came meanwhile runs when this turn's time is over
        if ready and self.alive:
            self._make_due()

    def _run(self, ready: deque[asyncio.Handle], count: int) -> None:
        for _ in range(count):
            if not ready:  # killed
                return
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
                self.steps += 1
            if self._fuse:
                self._fuse -= 1
                if not self._fuse and self._on_blown is not None:
                    self._on_blown()


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _close_quietly(task: asyncio.Task[Any]) -> None:
    coroutine: Any = task.get_coro()
    try:
        coroutine.close()
    except BaseException:  # noqa: BLE001  what a killed process would have said about its end
        return
