"""What a scenario is: a load, who takes part in it, and in which sets it runs."""

from enum import StrEnum
from typing import Final

from msgspec import Struct, structs

from bench.peers.peer import Peer
from bench.task import Task

GRAIN_US: Final = 50
"""How often the generator looks where each delivery waking it would cost it more than its core."""
_GRAIN_FROM_PER_S: Final = 100_000


class Set(StrEnum):
    """What is run: some two minutes, twenty minutes, everything on one machine, or clusters."""

    QUICK = "quick"
    STANDARD = "standard"
    FULL = "full"
    CLUSTER = "cluster"


class Scenario(Struct, frozen=True):
    """One load, run against each of its peers in turn.

    Attributes:
        section: heading in the report.
        peers: names of those that take part.
        quick: those that also do in the quick set.
        standard: those that also do in the standard set.
        cluster: those that do in the set of clusters.
        headline: keys of the figures that the report shows, the first one for plots.
        rounds_max: most rounds, where one run takes long.
    """

    name: str
    title: str
    section: str
    task: Task
    peers: tuple[str, ...]
    headline: tuple[str, ...]
    quick: tuple[str, ...] = ()
    standard: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ()
    rounds_max: int = 99

    def peers_in(self, chosen: Set) -> tuple[str, ...]:
        """Return who takes part in a set."""
        return {
            Set.QUICK: self.quick,
            Set.STANDARD: self.standard,
            Set.FULL: self.peers,
            Set.CLUSTER: self.cluster,
        }[chosen]

    def task_for(self, peer: Peer, seconds: float | None) -> Task:
        """Return the task against one peer: flat out, with as many in flight as suit it."""
        task = self.task
        if task.load == "fanout" and not task.rate and not task.in_flight:
            task = structs.replace(task, in_flight=peer.in_flight)
        # A stall lies within its window: the server is woken while the load goes on.
        return (
            structs.replace(task, seconds=max(seconds, 4 * task.stall_seconds)) if seconds else task
        )


def grain_us(deliveries_per_s: float) -> int:
    """Return how often the generator may look, for so many deliveries a second."""
    return GRAIN_US if deliveries_per_s >= _GRAIN_FROM_PER_S else 0
