"""What all simulated robots share: their world, what they wrote down, and what befalls their processes."""

from typing import NamedTuple

from client_sdk import RobotError
from tests.simulation.disk import Disk
from tests.simulation.history import History
from tests.simulation.network import Network
from tests.simulation.timeline import Timeline
from tests.simulation.trace import Trace

BASE = "g/base"
BEAT = "beat"


class Witness(NamedTuple):
    """A robot that was welcomed although it had seen ``seen`` where the log ended with ``head``."""

    at_s: float
    conv: str
    epoch: str
    head: int
    seen: int


class Society:
    """What all robots know of the world: its time, its network, its groups, each other.

    Attributes:
        groups: the groups that there are, or were; ``open_groups`` those that anyone may join.
        healed: the faults are over, and nobody says anything new.
        beats: signals that were sent; each has the number of its own.
        healed_at_beat: the number of the last one before the healing.
        losses: times that events were lost, or put back to what they were before.
        cids_last: nothing makes the server forget a cid.
        doubled: robots of which a device was started twice.
        witnesses: robots that had seen what was lost, when the server had reason to believe them.
    """

    def __init__(self, network: Network, disk: Disk, history: History, robots: list[str]) -> None:
        self.network = network
        self._disk = disk
        self.timeline: Timeline = network.timeline
        self.trace: Trace = network.trace
        self.history = history
        self.robots = robots
        self.groups = [BASE]
        self.open_groups: list[str] = []
        self.healed = False
        self.names = 0
        self.beats = 0
        self.healed_at_beat = 0
        self.losses = 0
        self.cids_last = True
        self.doubled: set[str] = set()
        self.witnesses: list[Witness] = []

    def heal(self) -> None:
        """End the talk."""
        self.healed = True
        self.healed_at_beat = self.beats

    def is_healed(self) -> bool:
        """Tell whether the talk is over."""
        return self.healed

    def lose(self) -> None:
        """Take in that the server may have forgotten what it knew."""
        self.losses += 1

    def may_be_ahead(self, conv: str) -> bool:
        """Tell whether a log may be shorter than what was delivered of it."""
        return conv in self._disk.truth.lost_tails

    def bear_witness(self, conv: str, epoch: str, head: int, seen: int) -> None:
        """Take in that a robot has shown that a log has lost its end."""
        if self._disk.in_doubt and not self._disk.health.full:
            self.witnesses.append(Witness(self.timeline.now_s, conv, epoch, head, seen))

    def next_beat(self) -> int:
        """Return the number of a new signal."""
        self.beats += 1
        return self.beats

    def count(self, what: str, error: RobotError | None = None) -> None:
        """Count something that a robot did, or could not do."""
        self.trace.counts[what if error is None else f"{what}: not told as done"] += 1


class Pace:
    """What befalls a device from outside.

    Attributes:
        slow_until_s: its application processes nothing before.
        paused_s: how long its process stood still so far.
    """

    def __init__(self) -> None:
        self.slow_until_s = 0.0
        self.paused_s = 0.0
