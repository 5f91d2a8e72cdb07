"""What a run under pressure found: figures for people, and what was not as promised."""

from collections.abc import Mapping

from msgspec import Struct

MIB = 1024 * 1024


class Findings(Struct):
    """One run's result.

    Attributes:
        figures: what was measured, as it is printed, by what it is.
        broken: promises that were not kept, on whatever machine this ran.
        missed: goals of speed and memory that were not reached on this machine.
    """

    figures: dict[str, str] = {}
    broken: list[str] = []
    missed: list[str] = []

    def expect(self, kept: object, promise: str) -> None:
        """Note a promise that was not kept."""
        if not kept:
            self.broken.append(promise)

    def aim(self, reached: object, goal: str) -> None:
        """Note a goal that was not reached."""
        if not reached:
            self.missed.append(goal)

    def show(self, figures: Mapping[str, str]) -> None:
        """Add figures."""
        self.figures.update(figures)

    def __str__(self) -> str:
        lines = [f"    {name:56} {value}" for name, value in self.figures.items()]
        lines += [f"  BROKEN  {promise}" for promise in self.broken]
        lines += [f"  MISSED  {goal}" for goal in self.missed]
        return "\n".join(lines)


def mib(count: float) -> str:
    """Return a number of bytes for people."""
    return f"{count / MIB:,.1f} MiB"
