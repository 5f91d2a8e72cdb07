"""What links of all transports share: what is queued in one turn of the loop goes out in one write, whether
the client takes it is noticed, and whether it is read from is told to the transport once.

Transports derive from it. What a goodbye looks like, and how frames are taken in, is theirs.
"""

import asyncio
from collections.abc import Set
from typing import Final, cast

from imserver.access.connection import Connection
from imserver.access.door import Door, source_of
from imserver.access.tls import names_in
from imserver.protocol.errors import CloseCode
from imserver.protocol.shared_frame import Form

CLOSE_TIMEOUT_S: Final = 5.0
DRAIN_RETRY_MS: Final = 1_000
ENOUGH_BYTES: Final = 128 * 1024
"""So much does not wait for more: what a write costs by itself is little beside moving these."""

LOST: Final = 0
"""In place of the tick by which it has to be closed: the transport is gone."""


class BufferedLink(asyncio.Protocol):
    """One client's transport, a `Link` for its session shell but for `close`.

    Attributes:
        form: how this client wants its frames.
    """

    __slots__ = (
        "_blocked",
        "_close_by",
        "_connection",
        "_door",
        "_is_dirty",
        "_out",
        "_out_bytes",
        "_reads",
        "_transport",
        "form",
        "pushed_in",
    )

    def __init__(self, door: Door, form: Form) -> None:
        self._door = door
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._connection: Connection | None = None
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._reads = True
        self._is_dirty = False
        self.pushed_in = 0
        self._blocked = False
        self._close_by: int | None = None
        self.form = form

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not its subclasses
        # When the system takes no more, neither do we: what waits there is a copy for this client alone.
        self._transport.set_write_buffer_limits(high=1)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        if self._connection is not None:
            self._connection.on_drained()

    def shutdown(self) -> None:
        """End the connection because the node stops."""
        if self._connection is not None:
            reason = "this node stops; reconnect"
            self._connection.close(CloseCode.DRAINING, reason, retry_after_ms=DRAIN_RETRY_MS)
        elif self._transport is not None:
            self._transport.close()

    # Link

    @property
    def congested(self) -> bool:
        return self._blocked or self._out_bytes > self._door.write_buffer_bytes_max

    @property
    def source(self) -> str:
        return source_of(self._host)

    def write(self, framed: bytes) -> None:
        if self._close_by is not None:
            return  # nothing follows the goodbye
        if not self._is_dirty:
            self._is_dirty = True
            self._door.flusher.add(self)
        self._out.append(framed)
        self._out_bytes += len(framed)

    def push(self, framed: bytes) -> None:
        if self._close_by is not None:
            return
        if not self._out:
            self._is_dirty = self._door.flusher.add_pushed(self)
        self._out.append(framed)
        self._out_bytes += len(framed)
        if self._out_bytes >= ENOUGH_BYTES and not self._is_dirty:
            self._is_dirty = True
            self._door.flusher.add(self)

    def pause_reading(self) -> None:
        if self._close_by is None:
            self._stop_reading()

    def resume_reading(self) -> None:
        if self._close_by is None:
            self._go_on_reading()

    def flush(self) -> None:
        """Write what is queued, at once."""
        out = self._out
        if not out:
            return
        over = self._out_bytes > self._door.write_buffer_bytes_max
        self._out_bytes = 0
        self._is_dirty = False
        if not self._transport.is_closing():
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()
        if over and not self._blocked and self._connection is not None:
            self._connection.on_drained()

    # For the transports.

    @property
    def _host(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return peer[0] if isinstance(peer, tuple) else ""

    @property
    def _vouched(self) -> Set[str]:
        return names_in(self._transport.get_extra_info("peercert"))

    @property
    def _is_paused(self) -> bool:
        """Whether the session shell takes nothing more for now."""
        return self._close_by is None and self._connection is not None and self._connection.paused

    @staticmethod
    def _on_hello_overdue(connection: Connection) -> float | None:
        """Close for want of a `hello`, or return the seconds that are left since we had the client wait."""
        more_s, connection.kept_waiting_s = connection.kept_waiting_s, 0.0
        if not more_s:
            connection.close(CloseCode.HELLO_TIMEOUT, "no `hello` was completed in time")
        return more_s or None

    def _stop_reading(self) -> None:
        if self._reads and not self._transport.is_closing():
            self._reads = False
            self._transport.pause_reading()

    def _go_on_reading(self) -> None:
        if not self._reads and not self._transport.is_closing():
            self._reads = True
            self._transport.resume_reading()

    @property
    def _is_answered(self) -> bool:
        """Whether we said goodbye to a client that ends the connection now, before it is given up."""
        if self._close_by is None or self._connection is None:
            return False
        return self._connection.has_said_bye and self._door.wheel.tick < self._close_by

    def _end_writing(self) -> None:
        """Write the end, but go on reading (and dropping) for a while.

        The client may be writing still. Closed under its hands, the connection would be reset, and the
        goodbye that says why could be lost with it.
        """
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
