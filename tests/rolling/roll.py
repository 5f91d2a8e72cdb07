"""One rolling restart, from its beginning to the verdict."""

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path

from msgspec import Struct

from imserver.verify import HistoryWriter, verify
from imserver.verify import Report as Verified
from imserver.verify.raw_log import read_log_file
from tests.mongo_server import MongoSet
from tests.ports import free_port
from tests.rolling.crew import Member
from tools.cluster import Cluster, Node, cluster

PATIENCE_S = 60.0


class Plan(Struct, frozen=True):
    """What is to be done; in full by default.

    Attributes:
        robots, groups: how many; each robot is a member of all groups.
        rate: sends a second, of all robots together.
        rounds: how often each node is restarted.
        pause_s: how long all nodes are there between two restarts.
    """

    robots: int = 24
    groups: int = 8
    rate: float = 200.0
    rounds: int = 3
    pause_s: float = 3.0


class Restart(Struct, frozen=True):
    """A node's restart: how long it took to see everybody off, and to be ready again."""

    node: str
    status: int
    drained_s: float
    started_s: float


class Outcome(Struct):
    """What came of it."""

    plan: Plan
    restarts: list[Restart]
    took_s: float
    acked: int
    resent: int
    connections: int
    longest_s: float
    failures: list[str]
    verified: Verified | None = None

    @property
    def is_clean(self) -> bool:
        """Whether no send failed, every node ended well, and the judge found nothing."""
        ended_well = all(restart.status == 0 for restart in self.restarts)
        is_well = self.verified is not None and self.verified.clean
        return not self.failures and ended_well and is_well


def run(plan: Plan, folder: Path, *, mongo: MongoSet | None = None) -> Outcome:
    """Restart all nodes of a cluster under load, and judge what its robots wrote down."""
    listen = f"127.0.0.1:{free_port()}"
    with cluster(listen=listen, mongo=mongo) as made:
        return asyncio.run(_run(plan, folder, made))


async def _run(plan: Plan, folder: Path, made: Cluster) -> Outcome:
    began_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        members = []
        for number in range(plan.robots):
            name = f"r{number}"
            history = stack.enter_context(HistoryWriter(folder / f"{name}.jsonl"))
            members.append(Member(name, made.url, data=made.data, history=history))
        async with asyncio.TaskGroup() as group:
            for member in members:
                await member.robot.__aenter__()
            reading = [group.create_task(member.read()) for member in members]
            convs = await _make_groups(members, plan.groups)
            restarts = await _roll_under_load(plan, members, convs, made)
            await _settle(members, convs)
            outcome = _counted(plan, members, restarts, began_s)
            for member in members:
                await member.robot.aclose()
                member.recorder.close(drained=True)
            for task in reading:
                task.cancel()
    log = folder / "raw.log"
    await asyncio.to_thread(_write_log, made, convs, log)
    outcome.verified = await asyncio.to_thread(_judge, folder, log)
    return outcome


async def _make_groups(members: list[Member], count: int) -> list[str]:
    names = [member.name for member in members]
    convs = []
    for number in range(count):
        owner = members[number % len(members)]
        others = [name for name in names if name != owner.name]
        convs.append(await owner.recorder.create_group(f"roll-{number}", others))
    return convs


async def _roll_under_load(
    plan: Plan, members: list[Member], convs: list[str], made: Cluster
) -> list[Restart]:
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for member in members:
            per_s = plan.rate / len(members)
            group.create_task(member.send(convs, per_s=per_s, until=over))
        restarts = []
        for _ in range(plan.rounds):
            for node in made.nodes:
                await asyncio.sleep(plan.pause_s)
                restarts.append(await asyncio.to_thread(_restart, node))
        await asyncio.sleep(plan.pause_s)
        over.set()
    return restarts


def _restart(node: Node) -> Restart:
    began_s = time.monotonic()
    status = node.stop()
    ended_s = time.monotonic()
    node.restart()
    return Restart(node.name, status, ended_s - began_s, time.monotonic() - ended_s)


async def _settle(members: list[Member], convs: list[str]) -> None:
    """Return when every robot was shown every log to its end; nobody sends any more."""
    heads = {row.conv: row.seq for row in await members[0].robot.groups()}
    async with asyncio.timeout(PATIENCE_S):
        for member in members:
            while any(member.received.get(conv, 0) < heads[conv] for conv in convs):
                await asyncio.sleep(0.02)


def _counted(plan: Plan, members: list[Member], restarts: list[Restart], began_s: float) -> Outcome:
    statistics = [member.robot.statistics() for member in members]
    return Outcome(
        plan,
        restarts,
        took_s=time.monotonic() - began_s,
        acked=sum(member.acked for member in members),
        resent=sum(each.resent for each in statistics),
        connections=sum(each.connections for each in statistics),
        longest_s=max(member.longest_s for member in members),
        failures=[failure for member in members for failure in member.failures],
    )


def _write_log(made: Cluster, convs: list[str], log: Path) -> None:
    """Write the logs down as the store has them, by the command that is there for it."""
    with log.open("wb") as file:
        for conv in convs:
            command = [sys.executable, "-m", "imserver", "tail", conv, "--after", "0"]
            command += ["--no-follow", "--json", "--url", made.url, "--data", str(made.data)]
            subprocess.run(command, check=True, stdout=file)


def _judge(folder: Path, log: Path) -> Verified:
    return verify(sorted(folder.glob("r*.jsonl")), read_log_file(log))
