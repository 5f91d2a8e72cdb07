"""A connection in memory: what one side writes, the other is handed in a later turn of the loop."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from client_sdk.transport import TransportClosed
from imserver.protocol.errors import CloseCode


class Receiver(Protocol):
    """The server's end."""

    def on_message(self, message: bytes) -> None:
        """Take in a message of the robot."""

    def on_closed(self) -> None:
        """Take in that the connection is closed."""


class MemoryTransport:
    """The robot's end of a connection in memory; a `Transport`."""

    def __init__(self, *, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._loop = asyncio.get_running_loop()
        self._server: Receiver | None = None
        self._inward: deque[bytes] = deque()
        self._outward: deque[bytes] = deque()
        self._closed: TransportClosed | None = None
        self._reader: asyncio.Future[None] | None = None
        self._scheduled = False

    def attach(self, server: Receiver) -> None:
        """Name the server's end."""
        self._server = server

    def send(self, messages: Sequence[bytes]) -> None:
        if self._closed is None:
            self._outward.extend(messages)
            self._schedule()

    async def receive(self) -> list[bytes]:
        while not self._inward:
            if self._closed is not None:
                raise self._closed
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        messages = list(self._inward)
        self._inward.clear()
        return messages

    def close(self, code: int, reason: str) -> None:
        if self._closed is None:
            self._hand_over()
            self.cut(code, reason)

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)

    def push(self, message: bytes) -> None:
        """Hand the robot a message of the server."""
        if len(message) > self._frame_bytes_max:
            self.cut(CloseCode.TOO_BIG, "the frame is too big")
        if self._closed is None:
            self._inward.append(message)
            self._wake()

    def cut(self, code: int, reason: str) -> None:
        """Close the connection from the server's side; what the robot wrote and was not read is lost."""
        if self._closed is None:
            self._closed = TransportClosed(code, reason)
            self._outward.clear()
            self._wake()
            if self._server is not None:
                self._server.on_closed()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._scheduled = False
        while self._outward and self._server is not None:
            self._server.on_message(self._outward.popleft())

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
