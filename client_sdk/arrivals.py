"""Messages that have come over a transport, for its one reader, and the end of the connection behind them."""

import asyncio

from client_sdk.transport import TransportClosed


class Arrivals:
    """A queue that is taken out whole: a burst of messages wakes its reader once.

    Attributes:
        end: why nothing more will come; what came before is returned first.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: list[bytes] = []
        self._reader: asyncio.Future[None] | None = None
        self.end: TransportClosed | None = None

    def put(self, message: bytes) -> None:
        """Take in a message; `wake` follows the last one of a burst."""
        self._messages.append(message)

    def wake(self) -> None:
        """Wake the reader if there is something to tell it."""
        if (self._messages or self.end) and self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def receive(self) -> list[bytes]:
        """Wait for messages and return those that have come, at least one; see `Transport.receive`.

        Raises:
            TransportClosed: there are none any more.
        """
        while not self._messages:
            if self.end is not None:
                raise self.end
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        messages, self._messages = self._messages, []
        return messages
