"""Time and ids that a test turns by hand."""


class HandClock:
    """A `Clock` that stands still until it is turned."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000
        self.s = 0.0

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.s


class CountedIds:
    """An `Ids` whose tokens count up."""

    def __init__(self) -> None:
        self.count = 0

    def token(self) -> str:
        self.count += 1
        return f"id-{self.count:020d}"
