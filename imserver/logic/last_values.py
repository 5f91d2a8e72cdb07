"""The latest value of each signal of one conversation, for those who come later or ask.

It is this node's memory and no more: bounded, gone with a restart, and gone when nobody has used the
conversation for a while. What must be known for certain is an event.
"""

from typing import Final

from imserver.protocol.server_frames import SignalValue

VALUES_MAX: Final = 256
BYTES_MAX: Final = 64 * 1024


class LastValues:
    """Values by sender and key; of too many the oldest are forgotten, but never the last."""

    __slots__ = ("_by_key", "_bytes")

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], SignalValue] = {}
        self._bytes = 0

    def keep(self, signal: SignalValue) -> None:
        """Take in a value, unless a newer one of its signal is known."""
        key, by_key = (signal.sender, signal.key), self._by_key
        known = by_key.get(key)
        if known is not None:
            if known.rev > signal.rev:
                return
            del by_key[key]
            self._bytes -= len(known.body)
        by_key[key] = signal
        self._bytes += len(signal.body)
        while len(by_key) > VALUES_MAX or (self._bytes > BYTES_MAX and len(by_key) > 1):
            self._bytes -= len(by_key.pop(next(iter(by_key))).body)

    def values(self) -> list[SignalValue]:
        """Return all of them, the oldest first."""
        return list(self._by_key.values())
