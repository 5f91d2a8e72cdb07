"""The model: from what robots do, by way of what each thing costs, to what machines it takes.

Three formulas carry it, each checked by `bench.sizing.simulation`:

- *Natural batching.* A node commits whenever something waits and nothing is on its way. Where events
  arrive at random, ``a`` a second, and a commit takes ``t`` seconds, a cycle is ``t`` and, if nothing came
  meanwhile, the wait for the first one: ``t + exp(-a t) / a``.
- *Spread.* The members of a group, each on any of ``n`` nodes, are on ``n (1 - (1 - 1/n)^m)`` of them.
- *Shards.* With conversations hashed onto shards, a shard has its part of the load and what of the hottest
  conversation is beyond that: ``(1 - hot) / shards + hot``.
"""

import math
from typing import Final

from msgspec import Struct

from bench.sizing.costs import Costs, Work, used
from imserver.core.settings import AccessSettings

US: Final = 1e6
BUSY: Final = 0.7
"""Share of a core up to which a node, or Redis, is planned to be used: beyond that, queues grow fast."""
MONGOD_CORES: Final = 8
CONNECTIONS_MAX: Final = AccessSettings().connections_max
"""A node takes no more robots than that, by default."""
_STEPS: Final = 200
_NODES_MAX: Final = 10_000


class Load(Struct, frozen=True):
    """What robots do: ``rate`` is what each of them sends in a second, into one group of ``members``."""

    robots: int
    groups: int
    rate: float

    @property
    def members(self) -> float:
        """Robots in each group."""
        return self.robots / self.groups

    @property
    def sends(self) -> float:
        """Events a second."""
        return self.robots * self.rate


class Need(Struct, frozen=True):
    """What a load takes: nodes of one core each; cores of all else; bytes a second through each part."""

    nodes: int
    work: Work
    node_cores: float
    primary_cores: float
    secondary_cores: float
    redis_cores: float
    shards: int
    redis_bytes: float
    log_bytes: float


def commits_per_s(arrivals: float, commit_s: float) -> float:
    """Return how many commits a node makes in a second, for events that arrive at random."""
    if arrivals <= 0:
        return 0.0
    return 1 / (commit_s + math.exp(-arrivals * commit_s) / arrivals)


def nodes_of_a_group(members: float, nodes: int) -> float:
    """Return on how many nodes the members of a group are, on average."""
    elsewhere: float = (1 - 1 / nodes) ** members
    return nodes * (1 - elsewhere)


def share_of_busiest_shard(hot: float, shards: int) -> float:
    """Return the share of the load that the shard of the hottest conversation has."""
    return hot + (1 - hot) / shards


def work_of(load: Load, nodes: int, commit_s: float) -> Work:
    """Return what so many nodes are asked to do, robots being spread over them evenly.

    Each event has a hint of its own: in a short while hardly a group has two.
    """
    elsewhere = nodes_of_a_group(load.members, nodes) - 1
    return Work(
        nodes=nodes,
        events=load.sends,
        commits=nodes * commits_per_s(load.sends / nodes, commit_s),
        deliveries=load.sends * load.members,
        hints_out=load.sends,
        hints_in=load.sends * elsewhere,
    )


def need_of(load: Load, costs: Costs) -> Need:
    """Return the fewest nodes that carry a load, and what the rest needs then.

    Raises:
        ValueError: no number of nodes would: hints between them cost more than a further one brings.
    """
    nodes = math.ceil(load.robots / CONNECTIONS_MAX)
    while nodes < _NODES_MAX:
        work = work_of(load, nodes, costs.commit_ms / 1_000)
        cores = used(costs.nodes, work) / US
        if cores <= nodes * BUSY:
            return _need(work, cores, costs)
        nodes = max(nodes + 1, math.ceil(cores / BUSY * 0.5))
    raise ValueError(f"no number of nodes up to {_NODES_MAX:,} carries {load}")


def _need(work: Work, cores: float, costs: Costs) -> Need:
    primary = used(costs.primary, work) / US
    return Need(
        nodes=int(work.nodes),
        work=work,
        node_cores=cores,
        primary_cores=primary,
        secondary_cores=used(costs.secondaries, work) / US,
        redis_cores=used(costs.redis, work) / US,
        shards=math.ceil(primary / (MONGOD_CORES * BUSY)),
        redis_bytes=(work.hints_out + work.hints_in) * costs.hint_bytes,
        log_bytes=work.events * costs.event_bytes,
    )


def sends_until(costs: Costs, part: str, cores: float, load: Load) -> float:
    """Return the sends a second at which a part has used up its cores, all else growing along."""
    least, most = 0.0, 1e9
    for _ in range(_STEPS):
        middle = (least + most) / 2
        rate = middle / load.robots
        nodes = need_nodes(Load(load.robots, load.groups, rate), costs)
        work = work_of(Load(load.robots, load.groups, rate), nodes, costs.commit_ms / 1_000)
        if used(getattr(costs, part), work) / US <= cores * BUSY:
            least = middle
        else:
            most = middle
        if most - least < 1:
            break
    return least


def need_nodes(load: Load, costs: Costs) -> int:
    """Return the fewest nodes that carry a load; the most that are looked at, if none does."""
    try:
        return need_of(load, costs).nodes
    except ValueError:
        return _NODES_MAX
