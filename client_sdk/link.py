"""The thin shell around the machine: connects, feeds it what comes in and the time, performs what it says.

One task for each robot, one timer, one write for each burst. Called by the facades in `robot`.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from client_sdk import tasks
from client_sdk.errors import ConnectionLost, MemoryFileError, RobotError
from client_sdk.keeper import Keeper
from client_sdk.machine import Machine
from client_sdk.outbox import Repeat
from client_sdk.records import Sent
from client_sdk.requests import Answer
from client_sdk.states import State
from client_sdk.transport import ABNORMAL, Connector, Transport, TransportClosed
from client_sdk.watchers import Watchers
from imserver.protocol.codec import Codec, InvalidFrame
from imserver.protocol.errors import CloseCode
from imserver.protocol.server_frames import Ok, Pong

AnswerT = TypeVar("AnswerT", Sent, Ok, Pong)
_log = logging.getLogger("client_sdk")


class Link:
    """A machine that runs.

    Attributes:
        machine: what decides.
        keeper: the robot's memory, if it has one.
        reader: who reads the events; a newer one takes over.
        frames_ignored: frames that were not understood.
    """

    def __init__(
        self,
        machine: Machine,
        connector: Connector,
        codec: Codec,
        *,
        frame_bytes_max: int,
        keeper: Keeper | None = None,
    ) -> None:
        self.machine = machine
        self.keeper = keeper
        self._connector = connector
        self._codec = codec
        self._frame_bytes_max = frame_bytes_max
        self._transport: Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Sent | Ok | Pong]] = {}
        self._watchers = Watchers()
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False
        self.reader: object = None
        self.frames_ignored = 0

    async def open(self, timeout_s: float) -> None:
        """Start, and return when the robot is online.

        Raises:
            ConnectionLost: it is not within ``timeout_s``; the text says what the last problem was.
            RobotError: the server refused it for good, or the memory cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        if self.keeper is not None:
            self.keeper.on_written = self._written
            self.machine.recall(await self.keeper.open())
        self._task = tasks.start(self._run(), name="client_sdk.link", on_failure=self.broke)
        try:
            async with asyncio.timeout(timeout_s):
                await self.wait_online()
        except TimeoutError:
            problem = self.machine.last_problem
            raise ConnectionLost(f"not online within {timeout_s:g} s: {problem}") from None

    async def wait_online(self) -> None:
        """Return when the robot is online.

        Raises:
            RobotError: it is over.
        """
        await self.wait_until(lambda: self.machine.state is State.ONLINE)

    @property
    def is_closed(self) -> bool:
        """Whether it ended because it was asked to."""
        return self.machine.state is State.OVER and self.machine.failure is None

    def check_not_over(self) -> None:
        """Return if the robot is connected or will try to be.

        Raises:
            RobotError: it is over, and why.
        """
        if self._task is None:
            raise ConnectionLost("the robot is not connected: use it inside `async with Robot(…)`")
        if self.machine.state is State.OVER:
            raise self.machine.failure or ConnectionLost("the robot is closed")

    async def ask(
        self, frame: Struct, kind: type[AnswerT], *, repeat: Repeat, timeout_s: float
    ) -> AnswerT:
        """Write a request and return its answer of the ``kind``; ``frame.id`` comes from ``machine.ids``.

        Raises:
            RobotError: it was refused, or its deadline passed, or the robot is over.
        """
        self.check_not_over()
        request_id: int = frame.id  # type: ignore[attr-defined]  # every request has one
        future: asyncio.Future[Sent | Ok | Pong] = self._loop.create_future()
        self._waiting[request_id] = future
        self.machine.requests.submit(frame, repeat=repeat, deadline_s=self._loop.time() + timeout_s)
        self.perform_soon()
        try:
            answer = await future
        finally:
            if self._waiting.pop(request_id, None) is not None:
                self.machine.requests.abandon(request_id)
        if not isinstance(answer, kind):
            raise RobotError(
                f"the server answered with {answer!r}; it does not speak this protocol"
            )
        return answer

    def now_s(self) -> float:
        """Return the stopwatch that the machine goes by."""
        return self._loop.time()

    async def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when ``ready()`` is true; it is looked at whenever something happens.

        Raises:
            RobotError: it is over, and why.
        """
        while not ready():
            self.check_not_over()
            await self._watchers.wait(ready)

    def perform_soon(self) -> None:
        """Perform at the end of this turn of the loop, once for all that asked."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.perform)

    def perform(self) -> None:
        """Do what the machine says: keep, write, answer, wake, hang up, set the timer."""
        self._scheduled = False
        if self.keeper is not None:
            self.keeper.write(self._loop.time())
        self._write()
        for request_id, answer in self.machine.requests.take_ended():
            self._tell(request_id, answer)
        self.wake()
        self._set_timer()

    def wake(self) -> None:
        """Wake those whose condition has come true."""
        self._watchers.wake(everybody=self.machine.state is State.OVER)

    async def aclose(self) -> None:
        """Write the acks, close the connection in good order and end; who waits is told."""
        if self._task is None:
            return
        self.machine.flush_acks()
        try:
            if self.keeper is not None:
                await self.keeper.drain()
        finally:
            self._write()
            self.machine.fail(None)
            self.perform()
            try:
                await tasks.end(self._task)
            finally:
                if self.keeper is not None:
                    await self.keeper.aclose()
                if self._timer is not None:
                    self._timer.cancel()

    async def _run(self) -> None:
        machine = self.machine
        while machine.state is not State.OVER:
            if (wait_s := machine.retry_at_s - self._loop.time()) > 0:
                await asyncio.sleep(wait_s)
                continue  # it may be over by now
            machine.connecting(self._loop.time())
            try:
                await self._converse()
            except TransportClosed as closed:
                if closed.retry_after_s is not None:
                    machine.reconnect.turned_away(closed.retry_after_s)
                machine.disconnected(closed.code, closed.reason, self._loop.time())
            extra = {"problem": machine.last_problem, "state": machine.state.value}
            _log.info("robot.disconnected", extra=extra)
            self.perform()

    async def _converse(self) -> None:
        self._transport = transport = await self._connect()
        try:
            self.machine.connected()
            self.perform()
            while True:
                self._feed(await transport.receive())
                self.perform()
        finally:
            self._transport = None
            transport.close(CloseCode.NORMAL, "")
            await transport.wait_closed()

    async def _connect(self) -> Transport:
        frame_bytes_max = max(self._frame_bytes_max, self.machine.limits.frame_bytes_max)
        try:
            async with asyncio.timeout_at(self.machine.open_by_s):
                return await self._connector.connect(frame_bytes_max=frame_bytes_max)
        except TimeoutError:
            self.machine.reconnect.unanswered = True
            raise TransportClosed(ABNORMAL, "the server did not answer in time") from None

    def _feed(self, messages: list[bytes]) -> None:
        now_s = self._loop.time()
        for message in messages:
            try:
                frame = self._codec.decode_server(message)
            except InvalidFrame as problem:
                self.frames_ignored += 1
                _log.warning("frame.ignored", extra={"problem": str(problem)})
                continue
            self.machine.received(frame, now_s)

    def _write(self) -> None:
        transport = self._transport
        if transport is None:
            return
        while frames := self.machine.take_frames():
            transport.send([self._codec.encode(frame) for frame in frames])
        if self.machine.hang_up is not None:
            transport.close(*self.machine.hang_up)
        elif self.machine.state is State.OVER:
            transport.close(CloseCode.NORMAL, "")

    def _tell(self, request_id: int, answer: Answer) -> None:
        future = self._waiting.pop(request_id, None)
        if future is None or future.done():
            return
        if isinstance(answer, RobotError):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _set_timer(self) -> None:
        due_s = self.machine.next_deadline_s()
        if self._timer is not None:
            if due_s is not None and self._timer.when() <= due_s and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due_s, self._tick) if due_s is not None else None

    def _written(self, error: MemoryFileError | None) -> None:
        if error is not None:
            self.machine.fail(error)
        self.perform()

    def _tick(self) -> None:
        self._timer = None
        self.machine.tick(self._loop.time())
        self.perform()

    def broke(self, error: Exception) -> None:
        """End it for good, because a task of it failed that never should."""
        failure = ConnectionLost(f"the SDK broke, please report it: {error!r}")
        failure.__cause__ = error
        self.machine.fail(failure)
        self.perform()
