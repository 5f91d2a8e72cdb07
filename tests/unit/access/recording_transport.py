"""An `asyncio.Transport` that goes nowhere: keeps what is written and what it was told to do."""

import asyncio
from typing import Any


class RecordingTransport(asyncio.Transport):
    """Keeps what is written; the test says what its client has not taken yet.

    Attributes:
        writes: the bytes of every write, in order.
        is_stuck: the client takes nothing, so that a close does not come to its end.
        reading: whether the client is read from.
    """

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.writes: list[bytes] = []
        self.is_stuck = False
        self._closed = False
        self._ended = False
        self._aborted = False
        self.reading = True
        self.high: int | None = None
        self._is_lost = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def write(self, data: Any) -> None:
        assert not self._closed and not self._ended, "nothing is written to a closing transport"
        self.writes.append(bytes(data))

    def is_closed(self) -> bool:
        """Tell whether it was closed in an orderly way."""
        return self._closed

    def is_ended(self) -> bool:
        """Tell whether the end was written, after which it is still read from."""
        return self._ended

    def is_aborted(self) -> bool:
        """Tell whether it was cut off."""
        return self._aborted

    def is_closing(self) -> bool:
        return self._closed or self._aborted

    def close(self) -> None:
        self._closed = True
        if not self.is_stuck:
            self._lose()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Write the end, upon which the client closes unless it is stuck."""
        assert not self._ended, "the end is written once"
        self._ended = True
        if not self.is_stuck:
            self.close()

    def abort(self) -> None:
        self._aborted = True
        self._lose()

    def pause_reading(self) -> None:
        assert self.reading, "reading is paused once"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "reading is resumed once"
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4_000) if name == "peername" else default

    def _lose(self) -> None:
        if not self._is_lost:
            self._is_lost = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
