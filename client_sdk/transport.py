"""The seam to the network: what a connection is to the SDK.

`websocket` and `tcp` have the real ones, `client_sdk.testing` one in memory.
"""

from collections.abc import Sequence
from typing import Final, Protocol

ABNORMAL: Final = 1006
"""The close code of a connection that just broke, or did not come up."""


class TransportClosed(Exception):
    """The connection is closed, or did not come up.

    Attributes:
        code: the close code; 1006 if it just broke.
        reason: the server's words, or what happened.
        retry_after_s: whole seconds to wait, if the server refused the connection and said so.
    """

    def __init__(self, code: int, reason: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason
        self.retry_after_s = retry_after_s


class Transport(Protocol):
    """One open connection. Messages arrive whole, in order, at most once; each is one frame."""

    def send(self, messages: Sequence[bytes]) -> None:
        """Write messages in order, as one burst; after the close they are dropped."""

    async def receive(self) -> list[bytes]:
        """Wait for messages and return those that have come, at least one.

        Cancelling loses none.

        Raises:
            TransportClosed: the connection is closed, and every message that came was returned.
        """

    def close(self, code: int, reason: str) -> None:
        """Begin to close; what was sent goes out first. Idempotent."""

    async def wait_closed(self) -> None:
        """Return when the connection is closed; after `close` that takes two seconds at most."""


class Connector(Protocol):
    """Makes connections to one server."""

    async def connect(self, *, frame_bytes_max: int) -> Transport:
        """Connect and agree on the protocol.

        Args:
            frame_bytes_max: a longer message breaks the connection.

        Raises:
            TransportClosed: there is no connection, and the reason says why.
        """
