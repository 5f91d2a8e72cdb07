"""Open load: messages fall due at a rate, whatever the server does with them."""

import time
from typing import Final

from bench.load.histogram import Histogram
from bench.load.loop import Loop
from bench.load.sender import Sender
from bench.load.ticker import Ticker


class Pace:
    """Has a sender send message *i* at *start + i / rate*; what is late is sent at once."""

    def __init__(self, loop: Loop, sender: Sender, *, rate: float) -> None:
        self.lag: Final = Histogram()
        """How late messages left the generator."""
        self._loop = loop
        self._sender = sender
        self._count = 0
        self._ticker = Ticker(rate)
        loop.add(self._ticker.fileno(), self._on_tick)

    def stop(self) -> None:
        """Offer no more."""
        self._loop.remove(self._ticker.fileno())
        self._ticker.close()

    def _on_tick(self, _mask: int) -> None:
        ticker = self._ticker
        due = range(self._count, self._count + ticker.due())
        self._count = due.stop
        times = [ticker.start_ns + number * ticker.interval_ns for number in due]
        if times:
            now_ns = time.monotonic_ns()
            self._sender.push(times)
            for due_ns in times:
                self.lag.record_ns(now_ns - due_ns)
