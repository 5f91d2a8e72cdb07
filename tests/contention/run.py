"""A run: real nodes on a real MongoDB and Redis, robots on all of them that write to the same groups.

With ``forward`` "never" each node appends what it is sent, so all of them append to every group all the
time. In the end every send has an outcome, every robot has read its groups to the end, and all that the
robots wrote down is judged against the store, which is migrated into a data directory for that.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from pymongo import MongoClient

from imserver.verify import read_data_directory, verify
from tests.chaos.fleet import ClientProcess, Fleet
from tests.chaos.orders import ClientOrder, RobotOrder
from tests.contention.faults import Faults, count
from tests.e2e.cluster import Cluster
from tests.e2e.server_process import ServerProcess
from tests.redis_server import RedisServer

START_LIMIT_S: Final = 180
END_LIMIT_S: Final = 120.0
_COUNTS: Final = {
    "retries": 'imserver_store_retries_total{why="overtaken"}',
    "stored": "imserver_events_stored_total",
    "forwarded": "imserver_appends_forwarded_total",
    "fallen_back": "imserver_appends_fallen_back_total",
    "fetched": "imserver_events_fetched_total",
}


class Plan(Struct, frozen=True):
    """What a run is to be.

    Attributes:
        seconds: how long the robots send.
        folder: where its files go.
        nodes: how many.
        robots: how many on each node.
        groups: how many; every robot is in each of them, and writes to it.
        is_apart: each node has so many groups of its own, and only its own robots write to them.
        rate: sends a second that each robot begins, when it can.
        in_flight: sends that each robot has under way at most.
        forward: of the nodes, as in their settings.
        faults: what befalls them meanwhile, one after the other; see `faults`.
        fault_s: how long each of these lasts.
    """

    seconds: float
    folder: str
    nodes: int = 2
    robots: int = 3
    groups: int = 1
    is_apart: bool = False
    rate: float = 40.0
    in_flight: int = 32
    forward: str = "never"
    faults: tuple[str, ...] = ()
    fault_s: float = 20.0


class Result(Struct):
    """What came of a run.

    Attributes:
        acked: sends that were acked, all in all; ``per_s`` of them a second before the first fault.
        cpu_us: processor time of all nodes for each of these, in microseconds.
        counts: what the nodes counted, all together.
        findings: what was wrong.
    """

    plan: Plan
    acked: int
    per_s: float
    cpu_us: float
    counts: dict[str, int]
    findings: list[str]

    def to_text(self) -> str:
        """Return it in a few lines."""
        plan, counts = self.plan, self.counts
        scene = f"{plan.nodes} nodes, {plan.nodes * plan.robots} robots, {plan.groups} groups"
        scene += " of each node" if plan.is_apart else ""
        verdict = "BROKEN" if self.findings else "one order, no gap, nothing lost or doubled"
        retries, forwarded = counts["retries"], counts["forwarded"]
        return "\n".join(
            (
                f"{scene}, {plan.seconds:g} s, forward = {plan.forward}",
                f"  events     {counts['stored']:>9,}",
                f"  acked      {self.acked:>9,}   {self.per_s:>8,.0f} a second",
                f"  retries    {retries:>9,}   {1_000 * retries / max(self.acked, 1):>8,.1f} a thousand",
                f"  forwarded  {forwarded:>9,}   {counts['fallen_back']:>8,} fell back",
                f"  processor  {self.cpu_us:>9,.0f}   µs of all nodes for a send",
                f"  verdict    {verdict}",
                *(f"    {finding}" for finding in self.findings),
            )
        )


def carry_out(plan: Plan, *, store: str, redis: RedisServer) -> Result:
    """Do it; returns when everything has ended."""
    folder = Path(plan.folder)
    cluster = Cluster(
        folder / "data",
        store=store,
        route=redis.url,
        count=plan.nodes,
        environment={"IMSERVER_ROUTE_FORWARD": plan.forward},
    )
    nodes = cluster.nodes
    for node in nodes:
        node.start_timeout_s = START_LIMIT_S
    try:
        cluster.start()
        result = asyncio.run(_drive(plan, nodes, redis))
    finally:
        for node in nodes:
            if node.running:
                node.stop()
    for node in nodes:
        result.findings += node.tracebacks()
    result.findings += _judge(folder, nodes[0], store)
    return result


async def _drive(plan: Plan, nodes: tuple[ServerProcess, ...], redis: RedisServer) -> Result:
    fleet = _fleet(plan, nodes)
    await fleet.start()
    findings: list[str] = []
    try:
        await fleet.enter("connect", within_s=START_LIMIT_S)
        await fleet.enter("create", within_s=START_LIMIT_S)
        cpu_s, before, began_s = _cpu_s(nodes), fleet.total().acked, time.monotonic()
        await fleet.enter("send", within_s=START_LIMIT_S)
        await asyncio.sleep(plan.seconds)
        calm_acked = fleet.total().acked - before
        per_s, cpu_s = calm_acked / (time.monotonic() - began_s), _cpu_s(nodes) - cpu_s
        faults = Faults(nodes, redis, fleet, seconds=plan.fault_s)
        for fault in plan.faults:
            await faults.carry_out(fault)
        await fleet.enter("settle", within_s=END_LIMIT_S)
        await fleet.enter("drain", within_s=END_LIMIT_S)
        findings += fleet.total().problems + faults.findings
        counts = await asyncio.to_thread(_counts, nodes)
    finally:
        await fleet.end()
    findings += [errors[-2_000:] for client in fleet.clients if (errors := client.errors())]
    cpu_us = 1e6 * cpu_s / max(calm_acked, 1)
    return Result(plan, fleet.total().acked, per_s, cpu_us, counts, findings)


def _fleet(plan: Plan, nodes: tuple[ServerProcess, ...]) -> Fleet:
    folder = Path(plan.folder)
    for name in ("histories", "keys"):
        (folder / name).mkdir(exist_ok=True)
    names = [f"r{robot}-{node}" for robot in range(plan.robots) for node in range(plan.nodes)]
    clients = []
    for number, node in enumerate(nodes):
        at = number if plan.is_apart else 0
        groups = [f"rush-{at}-{each}" for each in range(plan.groups)]
        everybody = names[at:] + names[:at]
        robots = tuple(
            RobotOrder(
                name,
                nodes[0].enroll(name),
                str(folder / "keys" / name),
                tuple(f"g/{group}" for group in groups),
                creates={g: tuple(everybody[1:]) for g in groups} if name == everybody[0] else {},
            )
            for name in names[number :: plan.nodes]
        )
        history = str(folder / "histories" / f"client-{number}.jsonl")
        order = ClientOrder(
            (node.ws_url,), robots, history, "", rate=plan.rate, in_flight=plan.in_flight
        )
        clients.append(ClientProcess(order, folder, number=number))
    return Fleet(clients)


def _cpu_s(nodes: tuple[ServerProcess, ...]) -> float:
    ticks = 0
    for node in nodes:
        fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _counts(nodes: tuple[ServerProcess, ...]) -> dict[str, int]:
    counts = dict.fromkeys(_COUNTS, 0)
    for node in nodes:
        for name, metric in _COUNTS.items():
            counts[name] += count(node, metric)
    return counts


def _judge(folder: Path, node: ServerProcess, store: str) -> list[str]:
    log = folder / "log"
    log.mkdir()
    with MongoClient[Any](store) as client:
        # All have ended, and nobody waits here for the leases of those that were killed.
        client.get_default_database()["nodes"].delete_many({})
    shutil.copy(node.data / "server.key", log)
    command = [sys.executable, "-m", "imserver", "migrate", "--from", store, "--to", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"the log could not be read: {done.stdout} {done.stderr}"]
    report = verify([folder / "histories"], read_data_directory(log))
    return [] if report.clean else [report.to_text()[-4_000:]]
