"""The generator's loop: epoll, and a handler for each descriptor. Nothing else runs between the two."""

import select
import time
from collections.abc import Callable
from typing import Final

from bench.load.wire import Broken

_WAIT_MAX_S: Final = 0.1


class Loop:
    """Waits for descriptors and calls their handlers."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def add(self, fd: int, handler: Callable[[int], None], *, writing: bool = False) -> None:
        """Call ``handler`` with epoll's event mask whenever ``fd`` is readable (or writable)."""
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLOUT if writing else select.EPOLLIN)

    def watch(self, fd: int, *, writing: bool) -> None:
        """Wait for ``fd`` to become writable too, or no longer."""
        self._epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if writing else 0))

    def remove(self, fd: int) -> None:
        """Forget ``fd``; a handler may do that with its own, and outside of `run` with any."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def run(self, *, seconds: float) -> None:
        """Serve the descriptors for ``seconds``."""
        self._run(lambda: False, time.monotonic() + seconds)

    def run_until(self, done: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Serve the descriptors until ``done``.

        Raises:
            Broken: it was not done within ``seconds``; the text names ``what`` was waited for.
        """
        if not self._run(done, time.monotonic() + seconds):
            raise Broken(f"{what} did not happen within {seconds:g} s")

    def _run(self, done: Callable[[], bool], deadline: float) -> bool:
        handlers = self._handlers
        poll = self._epoll.poll
        now = time.monotonic
        while not done():
            left = deadline - now()
            if left <= 0:
                return False
            for fd, mask in poll(min(left, _WAIT_MAX_S), 256):
                handlers[fd](mask)
        return True

    def close(self) -> None:
        """Release the loop; the descriptors stay their owners'."""
        self._epoll.close()
