"""Signals that wait for their reader: only the latest value of each counts, and there is a bound.

Sans-I/O; called by the machine as frames come in and by the reader as it takes them.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from client_sdk.records import Signal
from imserver.protocol.server_frames import SignalValue


class SignalBoard:
    """Unread signals by (conversation, sender, key), the one unread longest first."""

    def __init__(self, decode_body: Callable[[Raw], Any], *, signals_max: int) -> None:
        self._decode_body = decode_body
        self._signals_max = signals_max
        self._unread: dict[tuple[str, str, str], SignalValue] = {}
        self.dropped = 0

    def put(self, frame: SignalValue) -> None:
        """Keep a value in the place of the unread one before it; beyond the bound the oldest goes."""
        self._unread[(frame.conv, frame.sender, frame.key)] = frame
        if len(self._unread) > self._signals_max:
            del self._unread[next(iter(self._unread))]
            self.dropped += 1

    def next(self) -> Signal | None:
        """Take the signal that is unread longest, or None."""
        if not self._unread:
            return None
        frame = self._unread.pop(next(iter(self._unread)))
        return Signal(frame.conv, frame.sender, frame.key, self._decode_body(frame.body), frame.rev)

    def __len__(self) -> int:
        return len(self._unread)
