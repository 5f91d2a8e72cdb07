"""Whether a robot's log arrives as promised: every seq once, in order, no gaps. Pure."""

from msgspec import Struct


class CatchUp(Struct, frozen=True):
    """What a robot received after an absence, up to the head it found on its return."""

    first: int
    last: int
    received: int
    gaps: int
    repeats: int

    def __str__(self) -> str:
        missed = self.last - self.first + 1
        what = f"seq {self.first} to {self.last}" if missed else "nothing"
        verdict = "contiguous, none twice"
        if self.gaps or self.repeats or self.received != missed:
            verdict = f"NOT AS PROMISED: {self.gaps} gaps, {self.repeats} repeats"
        return f"missed {missed} events ({what}) and received exactly {self.received}: {verdict}"


class Reception:
    """One robot's view of one log, over all its connections."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.received = 0
        self.gaps = 0
        self.repeats = 0
        self._before: tuple[int, int, int, int] | None = None
        self._head = 0

    def take(self, seq: int) -> None:
        """Note that the event at ``seq`` arrived."""
        if self.last is not None and seq <= self.last:
            self.repeats += 1
            return
        if self.last is not None and seq > self.last + 1:
            self.gaps += 1
        self.last = seq
        self.received += 1

    def returned(self, head: int) -> None:
        """Begin to watch a catch-up: the robot is back, and the log has reached ``head``."""
        self._before = (self.last or 0, self.received, self.gaps, self.repeats)
        self._head = head

    def caught_up(self) -> CatchUp | None:
        """Return the finished catch-up, once; None while it goes on or if there is none."""
        if self._before is None or (self.last or 0) < self._head:
            return None
        last, received, gaps, repeats = self._before
        self._before = None
        return CatchUp(
            first=last + 1,
            last=self.last or 0,
            received=self.received - received,
            gaps=self.gaps - gaps,
            repeats=self.repeats - repeats,
        )
