"""What a run is to be."""

from msgspec import Struct


class Plan(Struct, frozen=True):
    """What a run is to be.

    Attributes:
        seconds: how long the nemesis is at work.
        seed: of everything that is drawn.
        folder: where the run's files go.
        faults: names of the faults that may come; all if empty.
        once: each of them comes once, in that order, and however long it takes.
        robots, groups: how many.
        rate: sends a second that each robot begins, when it can.
        direct: so many of the client processes go past the proxy.
        durability: of the server.
        patience_s: how long the robots may take, in the end, to settle their sends, and to read their logs.
        package: folder with another copy of ``imserver`` to run; a broken one, to see that it is noticed.
        keep: keep the histories and the data.
        slack: how many times as long as usual everything may take.
    """

    seconds: float
    seed: str
    folder: str
    faults: tuple[str, ...] = ()
    once: bool = False
    robots: int = 24
    groups: int = 12
    rate: float = 40.0
    direct: int = 1
    durability: str = "full"
    patience_s: float = 60.0
    package: str | None = None
    keep: bool = False
    slack: float = 1.0
