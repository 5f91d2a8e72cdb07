"""Faults of the network between the servers: packets are dropped, one way or both."""

import asyncio
import random
from collections.abc import Iterable

from tests.chaos.cluster.network import both_ways
from tests.chaos.cluster.redis_pair import NAMES as REDIS
from tests.chaos.cluster.scene import Cluster, mongod_name
from tests.chaos.fault import Fault

Ways = list[tuple[str, str]]


def _drawn(ones: Iterable[str], others: Iterable[str], dice: random.Random) -> tuple[str, Ways]:
    """Return what is cut between two sides: one way, the other, or both."""
    ones, others = list(ones), list(others)
    ways = both_ways(ones, others)
    half = len(ways) // 2
    return dice.choice([("there", ways[:half]), ("back", ways[half:]), ("both ways", ways)])


async def _cut(cluster: Cluster, name: str, ways: Ways, for_s: float) -> None:
    async with cluster.network.cut(ways):
        await asyncio.sleep(for_s)
    cluster.healed(name)


async def node_and_redis(cluster: Cluster, dice: random.Random) -> None:
    name, node = "node and redis", dice.choice(list(cluster.nodes))
    which, ways = _drawn([node], REDIS, dice)
    for_s = dice.choice([1.0, 5.0, 12.0])
    cluster.fault(name, node=node, cut=which, for_s=for_s)
    await _cut(cluster, name, ways, for_s)


async def node_and_mongods(cluster: Cluster, dice: random.Random) -> None:
    name, node = "node and mongods", dice.choice(list(cluster.nodes))
    which, ways = _drawn([node], cluster.mongods, dice)
    for_s = dice.choice([1.0, 5.0, 20.0])
    cluster.fault(name, node=node, cut=which, for_s=for_s)
    await _cut(cluster, name, ways, for_s)


async def node_and_primary(cluster: Cluster, dice: random.Random) -> None:
    """Cut a node from the primary alone: the others see nothing wrong, so no new one is elected."""
    name, node = "node and primary", dice.choice(list(cluster.nodes))
    primary = mongod_name(await cluster.primary())
    which, ways = _drawn([node], [primary], dice)
    for_s = dice.choice([1.0, 5.0, 20.0])
    cluster.fault(name, node=node, cut=which, for_s=for_s)
    await _cut(cluster, name, ways, for_s)


async def secondary_alone(cluster: Cluster, dice: random.Random) -> None:
    name, primary = "secondary alone", await cluster.primary()
    alone = dice.choice([m for m in cluster.mongods if m != mongod_name(primary)])
    others = [m for m in cluster.mongods if m != alone]
    which, ways = _drawn([alone], [*others, *cluster.nodes], dice)
    for_s = dice.choice([4.0, 12.0])
    cluster.fault(name, member=alone, cut=which, for_s=for_s)
    await _cut(cluster, name, ways, for_s)
    await cluster.wait_sound(name)


async def primary_alone(cluster: Cluster, dice: random.Random) -> None:
    """Cut the primary from the other members, and from the nodes or not.

    Those who reach it insert what no majority will have. It must not be acked, however often it is found.
    """
    name, alone = "primary alone", mongod_name(await cluster.primary())
    others = [m for m in cluster.mongods if m != alone]
    reachable = dice.choice([True, True, False])
    which, ways = _drawn([alone], others if reachable else [*others, *cluster.nodes], dice)
    for_s = dice.choice([4.0, 15.0])
    cluster.fault(name, member=alone, cut=which, nodes_reach_it=reachable, for_s=for_s)
    await _cut(cluster, name, ways, for_s)
    await cluster.wait_sound(name)


async def node_and_nodes(cluster: Cluster, dice: random.Random) -> None:
    name, node = "node and nodes", dice.choice(list(cluster.nodes))
    which, ways = _drawn([node], [n for n in cluster.nodes if n != node], dice)
    for_s = dice.choice([2.0, 8.0])
    cluster.fault(name, node=node, cut=which, for_s=for_s)
    await _cut(cluster, name, ways, for_s)


async def node_alone(cluster: Cluster, dice: random.Random) -> None:
    """Cut a node from all other servers, but not from its robots."""
    name, node = "node alone", dice.choice(list(cluster.nodes))
    others = [*(n for n in cluster.nodes if n != node), *cluster.mongods, *REDIS]
    for_s = dice.choice([5.0, 20.0])
    cluster.fault(name, node=node, for_s=for_s)
    await _cut(cluster, name, both_ways([node], others), for_s)


async def robots_and_node(cluster: Cluster, dice: random.Random) -> None:
    name, node = "robots and node", dice.choice(list(cluster.nodes))
    which, ways = _drawn([dice.choice(cluster.robot_places)], [node], dice)
    for_s = dice.choice([2.0, 8.0])
    cluster.fault(name, node=node, cut=which, for_s=for_s)
    await _cut(cluster, name, ways, for_s)


FAULTS = (
    Fault(
        "node and redis",
        "a node and Redis lose each other, one way or both",
        node_and_redis,
        often=2,
    ),
    Fault(
        "node and mongods", "a node loses all mongods, one way or both", node_and_mongods, often=2
    ),
    Fault("node and primary", "a node loses the primary alone", node_and_primary),
    Fault("node and nodes", "a node loses the other nodes", node_and_nodes),
    Fault("node alone", "a node loses all other servers, and keeps its robots", node_alone),
    Fault("robots and node", "a process of robots and a node lose each other", robots_and_node),
    Fault("secondary alone", "a mongod, not the primary, is alone", secondary_alone),
    Fault(
        "primary alone",
        "the primary loses the others, and nodes still reach it or not: it confirms nothing",
        primary_alone,
        often=3,
    ),
)
