"""What a scenario is: a task it is given, the findings it returns, and the figures it promises."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, Protocol

from msgspec import Struct

from bench import accounting

BODY_BYTES: Final = 256
GENERATOR_SHARE_MAX: Final = 0.7
OTHERS_SHARE_MAX: Final = 0.1
WARM_UP_S: Final = 1.0
DRAIN_S: Final = 30.0


class Task(Struct, frozen=True):
    """One run of one scenario against a server that was started for it.

    Attributes:
        seconds: length of the measured window.
        window: ``window`` of the ``hello`` of those that receive.
    """

    scenario: str
    port: int
    server_pid: int
    data: str
    seconds: float
    window: int

    @property
    def directory(self) -> Path:
        """The server's data directory."""
        return Path(self.data)


class Findings(Struct):
    """What a run found. A run that is ``void`` counts for nothing; ``flags`` are doubts to print."""

    figures: dict[str, float] = {}
    flags: list[str] = []
    void: str | None = None


class Figure(Struct, frozen=True):
    """A figure of a scenario, and what it is held against.

    Attributes:
        reference: the bare prototype's figure, or the goal where it has none; None if there is neither.
    """

    key: str
    unit: str
    better: Literal["more", "less"]
    reference: float | None = None


class Scenario(Protocol):
    """A kind of load."""

    @property
    def name(self) -> str:
        """What ``--only`` and the JSON call it."""

    @property
    def title(self) -> str:
        """What the table calls it."""

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What a run returns."""

    def run(self, task: Task) -> Findings:
        """Run the load and return what was found.

        Raises:
            Broken: an event was lost, doubled or reordered, or the server refused something.
        """


class Window:
    """The measured window: what was used while it was open."""

    def __init__(self) -> None:
        self.usage: accounting.Usage | None = None

    @property
    def used(self) -> accounting.Usage:
        """What was used; only after the window was closed."""
        assert self.usage is not None
        return self.usage


@contextlib.contextmanager
def measured(server_pid: int) -> Iterator[Window]:
    """Open a window around what happens in the block."""
    window = Window()
    before = accounting.read(server_pid)
    yield window
    window.usage = accounting.between(before, accounting.read(server_pid))


def findings(window: Window, *, saturating: bool, **figures: float) -> Findings:
    """Return ``figures`` with the shares of the two cores, and doubts about them."""
    used = window.used
    flags = []
    if used.generator > (0.97 if saturating else GENERATOR_SHARE_MAX):
        flags.append(f"the generator used {used.generator:.0%} of its core and may be the limit")
    if used.others > OTHERS_SHARE_MAX:
        flags.append(f"other processes used {used.others:.0%} of a core")
    if used.steal > OTHERS_SHARE_MAX:
        flags.append(f"the host took away {used.steal:.0%} of a core")
    shares = {"server_core": used.server * 100, "generator_core": used.generator * 100}
    return Findings(figures=figures | shares, flags=flags)


SHARES: Final = (
    Figure("server_core", "% of its core, the server", "less"),
    Figure("generator_core", "% of its core, the generator", "less"),
)
