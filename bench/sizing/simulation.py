"""A small simulation, event by event and seeded, of what the model says in formulas.

It shares no formula with the model: arrivals, commits, places of robots and shards of conversations are drawn
and counted.
"""

import heapq
import random
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple


class Batching(NamedTuple):
    """What one node did: commits a second, and events in each."""

    commits_per_s: float
    batch: float


def commit(arrivals: float, commit_s: float, *, seconds: float, seed: int) -> Batching:
    """Have events arrive at random at a node that commits whenever something waits."""
    dice = random.Random(seed)
    coming: list[tuple[float, str]] = [(dice.expovariate(arrivals), "event")]
    waiting = commits = events = 0
    is_busy = False
    while coming:
        now, what = heapq.heappop(coming)
        if now > seconds:
            break
        if what == "event":
            waiting += 1
            heapq.heappush(coming, (now + dice.expovariate(arrivals), "event"))
        else:
            is_busy = False
        if waiting and not is_busy:
            is_busy, commits, events, waiting = True, commits + 1, events + waiting, 0
            heapq.heappush(coming, (now + commit_s, "done"))
    return Batching(commits / seconds, events / max(commits, 1))


def nodes_of_groups(members: int, nodes: int, *, groups: int, seed: int) -> float:
    """Put the members of groups on nodes at random; return on how many a group is, on average."""
    dice = random.Random(seed)
    return sum(len({dice.randrange(nodes) for _ in range(members)}) for _ in range(groups)) / groups


def busiest_shard(hot: float, shards: int, *, groups: int, events: int, seed: int) -> float:
    """Hash conversations onto shards and send into them, a share of all into the first; return the share of
    its shard."""
    dice = random.Random(seed)
    count = Counter(
        _shard(0 if dice.random() < hot else dice.randrange(groups), shards) for _ in range(events)
    )
    return count[_shard(0, shards)] / events


def _shard(group: int, shards: int) -> int:
    return zlib.crc32(f"g/group{group}".encode()) % shards


class Checked(NamedTuple):
    """What the model says of a case, and what the simulation counted."""

    what: str
    modelled: float
    simulated: float

    @property
    def deviation(self) -> float:
        """How far the model is from the simulation, as a share of that."""
        return self.modelled / self.simulated - 1


def checks(commit_s: float, seed: int = 1) -> Iterator[Checked]:
    """Hold the model's formulas against the simulation."""
    from bench.sizing import model  # noqa: PLC0415 (nothing else here may know it)

    for arrivals in (20.0, 200.0, 2_000.0):
        found = commit(arrivals, commit_s, seconds=20_000 / arrivals, seed=seed)
        told = model.commits_per_s(arrivals, commit_s)
        yield Checked(f"commits/s of a node at {arrivals:,.0f} events/s", told, found.commits_per_s)
    for nodes in (3, 10, 50):
        simulated = nodes_of_groups(10, nodes, groups=5_000, seed=seed)
        told = model.nodes_of_a_group(10, nodes)
        yield Checked(f"nodes with members of a group of 10, of {nodes}", told, simulated)
    for hot in (0.0, 0.1):
        simulated = busiest_shard(hot, 8, groups=20_000, events=100_000, seed=seed)
        told = model.share_of_busiest_shard(hot, 8)
        what = f"share of one of 8 shards, the hottest group sending {hot:.0%}"
        yield Checked(what, told, simulated)
