"""The robot for scripts and threads: the asynchronous one, run by a loop in a thread of its own.

Nothing is decided here: each method hands its call to the loop and waits for the outcome. May be used by any
number of threads, but not from within a running event loop: there, use `Robot`.
"""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from client_sdk.errors import ConnectionLost
from client_sdk.records import Event, Signal, Statistics, Waiting
from client_sdk.robot import Robot
from client_sdk.states import State

P = ParamSpec("P")
T = TypeVar("T")
ItemT = TypeVar("ItemT")
_END: Any = object()


def _waits(
    method: Callable[Concatenate[Robot, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["BlockingRobot", P], T]:
    @functools.wraps(method)
    def call(self: "BlockingRobot", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(method(self._robot, *args, **kwargs))

    return call


def _made_as(
    make: Callable[P, Robot],
) -> Callable[
    [Callable[["BlockingRobot", Robot], None]], Callable[Concatenate["BlockingRobot", P], None]
]:
    """Have a constructor take what ``make`` takes, and be given what it makes."""

    def decorated(
        begin: Callable[["BlockingRobot", Robot], None],
    ) -> Callable[Concatenate["BlockingRobot", P], None]:
        @functools.wraps(Robot.__init__)
        def construct(self: "BlockingRobot", /, *args: P.args, **kwargs: P.kwargs) -> None:
            begin(self, make(*args, **kwargs))

        return construct

    return decorated


class BlockingRobot:
    """A `Robot` whose methods return when they are done. Takes the same arguments.

    with BlockingRobot("ws://127.0.0.1:7400", name="r1", key="r1.key") as robot:
        robot.send("g/dock", {"task": "pick"})
        for event in robot.events(timeout_s=5):
            print(event.body)
    """

    @_made_as(Robot)
    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._lock = threading.Lock()
        self._closing = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Connect and return when online; raises what `Robot` raises."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"client_sdk.{self._robot.name}", daemon=True
        )
        self._thread.start()
        try:
            self._run(self._robot.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write the acks, close the connection in good order, and end. Idempotent."""
        with self._closing:
            if self._loop is None:
                return
            try:
                self._run(self._robot.aclose())
            finally:
                self._stop()

    send = _waits(Robot.send)
    send_file = _waits(Robot.send_file)
    upload = _waits(Robot.upload)
    download = _waits(Robot.download)
    edit = _waits(Robot.edit)
    redact = _waits(Robot.redact)
    create_group = _waits(Robot.create_group)
    delete_group = _waits(Robot.delete_group)
    join = _waits(Robot.join)
    leave = _waits(Robot.leave)
    add_members = _waits(Robot.add_members)
    remove_members = _waits(Robot.remove_members)
    set_role = _waits(Robot.set_role)
    groups = _waits(Robot.groups)
    members = _waits(Robot.members)
    robots = _waits(Robot.robots)
    history = _waits(Robot.history)
    follow = _waits(Robot.follow)
    unfollow = _waits(Robot.unfollow)
    whoami = _waits(Robot.whoami)
    ping = _waits(Robot.ping)
    rotate_key = _waits(Robot.rotate_key)
    wait_online = _waits(Robot.wait_online)
    mark = _waits(Robot.mark)
    drop = _waits(Robot.drop)
    seal = _waits(Robot.seal)
    withdraw = _waits(Robot.withdraw)
    readers = _waits(Robot.readers)

    def events(self, *, timeout_s: float | None = None) -> Iterator[Event]:
        """Iterate over events as `Robot.events` does; end when none comes for ``timeout_s`` seconds."""
        stream = self._robot.events()
        return self._iterate(stream.__anext__, timeout_s)

    def signals(self, *, timeout_s: float | None = None) -> Iterator[Signal]:
        """Iterate over signals as `Robot.signals` does; end when none comes for ``timeout_s`` seconds."""
        stream = self._robot.signals()
        return self._iterate(stream.__anext__, timeout_s)

    def signal(self, conv: str, key: str, body: object) -> None:
        """Tell the members who are online a value; see `Robot.signal`."""
        self._run(_called(self._robot.signal, conv, key, body))

    def done(self, event: Event) -> None:
        """Say that everything up to ``event`` is processed; needed only after a ``break``."""
        self._run(_called(self._robot.done, event))

    def trust(self, robot: str, identity: bytes) -> None:
        """Believe an identity key of a robot; see `Robot.trust`."""
        self._run(_called(self._robot.trust, robot, identity))

    def waiting(self) -> list[Waiting]:
        """Return the sends that wait in the memory; see `Robot.waiting`."""
        return self._run(_called(self._robot.waiting))

    def direct(self, other: str) -> str:
        """Return the conversation between this robot and another."""
        return self._robot.direct(other)

    @property
    def state(self) -> State:
        """Where the connection is."""
        return self._robot.state

    def statistics(self) -> Statistics:
        """Return a snapshot of the counters."""
        return self._robot.statistics()

    def _iterate(
        self, ask: Callable[[], Coroutine[Any, Any, ItemT]], timeout_s: float | None
    ) -> Iterator[ItemT]:
        while True:
            item = self._run(_next(ask, timeout_s))
            if item is _END:
                return
            yield item

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._loop is None:
                work.close()
                raise ConnectionLost("the robot is not connected: use it inside `with`")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise ConnectionLost("the robot is closed") from None
        except BaseException:
            future.cancel()
            raise

    def _stop(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(_end_all_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()


async def _end_all_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)


async def _next(ask: Callable[[], Coroutine[Any, Any, ItemT]], timeout_s: float | None) -> ItemT:
    try:
        async with asyncio.timeout(timeout_s):
            return await ask()
    except (TimeoutError, StopAsyncIteration):
        return _END  # type: ignore[no-any-return]


async def _called(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    return function(*args, **kwargs)
