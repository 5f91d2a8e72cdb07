"""Signals that wait for room in a connection's outbound buffer: the latest of each, and not too many."""

from collections.abc import Iterator
from typing import Final

from imserver.protocol.shared_frame import Form, SharedFrame

SIGNALS_KEPT_MAX: Final = 256
SIGNAL_BYTES_KEPT_MAX: Final = 256 * 1024


class KeptSignals:
    """What one connection has to be told later; of too many the oldest are lost, but never the last."""

    __slots__ = ("_by_key", "_form")

    def __init__(self, form: Form) -> None:
        self._form = form
        self._by_key: dict[tuple[str, str, str], SharedFrame] = {}

    def keep(self, key: tuple[str, str, str], shared: SharedFrame) -> None:
        """Take in the latest value of ``key``."""
        by_key, form = self._by_key, self._form
        by_key.pop(key, None)
        by_key[key] = shared
        size = sum(len(signal.encoded(form)) for signal in by_key.values())
        while len(by_key) > SIGNALS_KEPT_MAX or (size > SIGNAL_BYTES_KEPT_MAX and len(by_key) > 1):
            size -= len(by_key.pop(next(iter(by_key))).encoded(form))

    def encoded(self) -> Iterator[bytes]:
        """Yield the signals as they go on the wire, in order."""
        for signal in self._by_key.values():
            yield signal.encoded(self._form)
