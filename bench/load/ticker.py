"""A timer that the kernel keeps, for load that is offered at a rate whatever the server does.

epoll's own timeout has a grain of a millisecond, and polling without sleeping would spare the server the
cost of waking its readers, which is what a trickle measures.
"""

import ctypes
import os
import time
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_TFD_NONBLOCK: Final = os.O_NONBLOCK
_TFD_TIMER_ABSTIME: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _TimeSpec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]


class _Interval(ctypes.Structure):
    _fields_ = [("interval", _TimeSpec), ("first", _TimeSpec)]


class Ticker:
    """Falls due ``rate`` times a second, counted from a moment just ahead."""

    def __init__(self, rate: float) -> None:
        self.interval_ns: Final = round(1e9 / rate)
        self.start_ns: Final = time.monotonic_ns() + 10_000_000
        self._fd = _checked(_LIBC.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK))
        setting = _Interval(_timespec(self.interval_ns), _timespec(self.start_ns))
        _checked(_LIBC.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None))

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a tick is due."""
        return self._fd

    def due(self) -> int:
        """Return how many ticks fell due since the last call."""
        try:
            return int.from_bytes(os.read(self._fd, 8), "little")
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Release the timer."""
        os.close(self._fd)


def _timespec(ns: int) -> _TimeSpec:
    return _TimeSpec(*divmod(ns, 1_000_000_000))


def _checked(answer: int) -> int:
    if answer < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return answer
