"""When callers are told that no outcome is known. Sans-I/O; called by `requests`."""

import heapq
from typing import Final

_SLACK: Final = 1024


class Deadlines:
    """Deadlines of callers, by number; those that were met are forgotten when they pass."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._open: set[int] = set()

    def add(self, number: int, due_s: float) -> None:
        """Note a deadline."""
        self._open.add(number)
        heapq.heappush(self._heap, (due_s, number))
        if len(self._heap) > 2 * len(self._open) + _SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._open]
            heapq.heapify(self._heap)

    def met(self, number: int) -> None:
        """Forget a deadline."""
        self._open.discard(number)

    def take_passed(self, now_s: float) -> list[int]:
        """Take out and return those whose deadline has passed."""
        passed = []
        while self._heap and self._heap[0][0] <= now_s:
            number = heapq.heappop(self._heap)[1]
            if number in self._open:
                self._open.remove(number)
                passed.append(number)
        return passed

    def next_s(self) -> float | None:
        """Return when the next one passes."""
        while self._heap and self._heap[0][1] not in self._open:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()
        self._open.clear()
