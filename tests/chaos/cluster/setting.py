"""How a cluster for chaos is made, and removed again."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from pymongo import version as pymongo_version

from tests.chaos.cast import CHANGING, PROCESSES, SERVER_CONFIG, cast
from tests.chaos.cluster.faults import ALL_FAULTS
from tests.chaos.cluster.network import Network
from tests.chaos.cluster.redis_pair import NAMES as REDIS_NAMES
from tests.chaos.cluster.redis_pair import RedisPair
from tests.chaos.cluster.scene import DATABASE, Cluster, mongod_name, names
from tests.chaos.fleet import Fleet, fleet_of
from tests.chaos.isolation import cannot_isolate
from tests.chaos.journal import Journal
from tests.chaos.orders import RobotOrder
from tests.chaos.plan import Plan
from tests.chaos.server import ChaosServer
from tests.chaos.setting import Abilities, Setting
from tests.mongo_server import PROMPT, PROMPT_PARAMETERS, MongoSet

NODES = tuple(names("node", 3))
MONGODS = tuple(map(mongod_name, range(3)))
CLIENTS = tuple(names("robots", PROCESSES))
PORT = 7400
BURSTS = (1, 2, 8)
"""Few at a time, so that no robot is silent for long by itself."""


@contextlib.asynccontextmanager
async def _cluster(plan: Plan, journal: Journal, _able: Abilities) -> AsyncIterator[Cluster]:
    folder = Path(plan.folder)
    network = Network([*NODES, *MONGODS, *REDIS_NAMES, *CLIENTS])
    await asyncio.to_thread(network.make)
    mongo = MongoSet(
        places=[network.place(name) for name in MONGODS],
        settings=PROMPT,
        parameters=PROMPT_PARAMETERS,
        folder=folder / "data" / "mongo",
        logs=folder,
    )
    redis = RedisPair(network)
    cluster = Cluster(
        folder=folder,
        fleet=Fleet([]),
        journal=journal,
        slack=plan.slack,
        network=network,
        nodes={},
        mongo=mongo,
        redis=redis,
    )
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(mongo.start))
            group.create_task(redis.start())
        cluster.nodes = _nodes(plan, cluster)
        await _start(cluster)
        await _cast(plan, cluster)
        await cluster.fleet.start()
        yield cluster
    finally:
        await cluster.fleet.end()
        for node in cluster.nodes.values():
            await node.kill()
        redis.stop()
        await asyncio.to_thread(mongo.stop)
        await asyncio.to_thread(network.remove)


def _nodes(plan: Plan, cluster: Cluster) -> dict[str, ChaosServer]:
    """Return the nodes, not started."""
    config = cluster.folder / "server.toml"
    config.write_text(SERVER_CONFIG)
    arguments = ("--store", cluster.mongo.url(DATABASE), "--route", cluster.redis.url)
    return {
        name: ChaosServer(
            cluster.folder / "data" / name,
            cluster.folder / f"{name}-stderr.txt",
            arguments=(*arguments, "--insecure", "--config", str(config)),
            package=Path(plan.package) if plan.package else None,
            place=cluster.network.place(name),
            port=PORT,
        )
        for name in NODES
    }


async def _start(cluster: Cluster) -> None:
    """Start the nodes; the first one's signing key is that of all."""
    first, *others = cluster.nodes.values()
    await first.start()
    async with asyncio.TaskGroup() as group:
        for node in others:
            node.data.mkdir(parents=True)
            shutil.copy(first.data / "server.key", node.data)
            group.create_task(node.start())


async def _cast(plan: Plan, cluster: Cluster) -> None:
    """Let there be robots, which know all nodes."""
    first = cluster.nodes[NODES[0]]
    cluster.token = first.token("chaos")
    orders = cast(plan.robots, plan.groups, folder=cluster.folder, enroll=first.enroll)
    cluster.robots = frozenset(order.name for order in orders)
    cluster.lines = cluster.robots | _lasting(orders)
    cluster.robot_places = CLIENTS
    urls = tuple(node.url for node in cluster.nodes.values())
    cluster.fleet = fleet_of(
        plan,
        orders,
        urls=lambda _: urls,
        bursts=BURSTS,
        prefix=lambda number: cluster.network.place(CLIENTS[number]).prefix,
    )


def _lasting(orders: list[RobotOrder]) -> frozenset[str]:
    """Return the conversations in which all members may send all the time."""
    convs = {conv for order in orders for conv in order.convs}
    return frozenset(conv for conv in convs if not conv.startswith(f"g/{CHANGING}"))


def why_not() -> str | None:
    """Return why this machine cannot be a cluster, or None if it can."""
    missing = [name for name in ("nsenter", "nft") if shutil.which(name) is None]
    return cannot_isolate() or (f"not installed: {', '.join(missing)}" if missing else None)


def _abilities() -> Abilities:
    return {"namespaces": why_not()}


CLUSTER = Setting(
    program="tests.chaos.cluster",
    title="Cluster chaos",
    robots=12,
    groups=6,
    rate=10.0,
    faults=ALL_FAULTS,
    abilities=_abilities,
    needs=("namespaces",),
    scene=_cluster,
    harm={
        "kills of nodes": ("kill node",),
        "kills of mongods": ("kill primary", "kill secondary"),
        "kills of Redis": ("kill redis",),
    },
    versions=lambda: {"PyMongo": pymongo_version, **PROMPT, **PROMPT_PARAMETERS},
)
