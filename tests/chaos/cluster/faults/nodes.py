"""Faults of the nodes: they are killed, stand still, or are told to end, one after the other."""

import asyncio
import random
import signal

from tests.chaos.cluster.scene import EXIT_LIMIT_S, Cluster
from tests.chaos.fault import Fault


async def kill(cluster: Cluster, dice: random.Random) -> None:
    name, away_s = dice.choice(list(cluster.nodes)), dice.choice([0.0, 2.0, 9.0])
    cluster.fault("kill node", node=name, away_s=away_s)
    await cluster.nodes[name].kill()
    await asyncio.sleep(away_s)
    await cluster.start_node(name)
    cluster.healed("kill node")


async def kill_all(cluster: Cluster, _dice: random.Random) -> None:
    """Leave no node: robots can go on once one is back."""
    cluster.outage("kill all nodes")
    for node in cluster.nodes.values():
        await node.kill()
    async with asyncio.TaskGroup() as group:
        for name in cluster.nodes:
            group.create_task(cluster.start_node(name))
    cluster.restored("kill all nodes")


async def _pause(cluster: Cluster, name: str, node: str, for_s: float) -> None:
    cluster.fault(name, node=node, for_s=for_s)
    cluster.nodes[node].signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(for_s)
    finally:
        cluster.nodes[node].signal(signal.SIGCONT)
    cluster.healed(name)


async def pause_long(cluster: Cluster, dice: random.Random) -> None:
    """Let a node stand still until everybody counts it as gone; it wakes up and believes what it believed."""
    await _pause(cluster, "pause node long", dice.choice(list(cluster.nodes)), 20.0)


async def pause(cluster: Cluster, dice: random.Random) -> None:
    node, for_s = dice.choice(list(cluster.nodes)), dice.choice([0.5, 2.0, 5.0, 7.0])
    await _pause(cluster, "pause node", node, for_s)


async def restart_all(cluster: Cluster, _dice: random.Random) -> None:
    """Restart one node after the other; each ends in good order, and the next waits until it is ready."""
    name = "restart nodes"
    before = cluster.fleet.total()
    cluster.fault(name)
    for node, server in cluster.nodes.items():
        server.signal(signal.SIGTERM)
        status = await server.wait_exit(within_s=cluster.allowed_s(EXIT_LIMIT_S))
        if status is None:
            cluster.finding(name, f"{node} has not ended within {EXIT_LIMIT_S:g} s")
            await server.kill()
        elif status != 0:
            cluster.finding(name, f"{node} ended with status {status}: {server.last_words()}")
        await cluster.start_node(node)
    after = cluster.fleet.total()
    facts = {"unknown": after.unknown - before.unknown, "refused": after.refused - before.refused}
    cluster.journal.note("healed", name, facts=facts)


FAULTS = (
    Fault("kill node", "SIGKILL of a node, which is back at once or in seconds", kill, often=3),
    Fault("kill all nodes", "SIGKILL of all nodes; the time counts from their start", kill_all),
    Fault("pause node", "SIGSTOP of a node for up to 7 s", pause, often=2),
    Fault(
        "pause node long",
        "SIGSTOP of a node for 20 s: it wakes up and believes that nothing has changed",
        pause_long,
        often=2,
    ),
    Fault(
        "restart nodes",
        "SIGTERM of one node after the other in mid-load: each ends with 0, and starts again",
        restart_all,
        often=2,
    ),
)
