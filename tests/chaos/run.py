"""A run from its beginning to its verdict.

Robots come online and make their groups; the nemesis breaks things while they talk; then everything is
healed, every unknown send is asked for again until it has an outcome, and every member reads its logs to
the end. The server is told to end, and what all robots wrote down is judged against the store, by two
judges.
"""

import asyncio
import contextlib
import math
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct

from imserver.verify import Report as Verified
from imserver.verify import read_data_directory, verify
from tests.chaos import nemesis
from tests.chaos.cast import PROCESSES, SERVER_CONFIG, cast
from tests.chaos.disk import Disk
from tests.chaos.fleet import ClientProcess, Fleet
from tests.chaos.journal import Journal
from tests.chaos.orders import ClientOrder, Report
from tests.chaos.proxy import CALM, Proxy
from tests.chaos.second_opinion import Judge, Opinion, read_histories
from tests.chaos.server import ChaosServer
from tests.chaos.world import Silence, World, abilities

SETTLE_MARGIN_S = 30.0
START_LIMIT_S = 90.0
DISK_BYTES = 4 * 1024**3


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


class Outcome(Struct):
    """What came of a run."""

    plan: Plan
    report: Report
    opinion: Opinion
    verified: Verified
    skipped: dict[str, str]
    steps: int
    ok_times: list[float]
    silences: list[Silence]
    took_s: float

    @property
    def is_clean(self) -> bool:
        """Whether both judges found nothing."""
        return self.opinion.is_clean and self.verified.clean


async def run(plan: Plan, journal: Journal) -> Outcome:
    """Carry out a plan; what was made on the machine for it is gone afterwards, however it ends."""
    began_s = time.monotonic()
    folder = Path(plan.folder)
    able = abilities()
    faults, skipped = nemesis.possible(frozenset(plan.faults), able)
    for name, reason in skipped.items():
        journal.note("skipped", name, f"SKIPPED: {reason}")
    steps = nemesis.draw_schedule(plan.seed, faults)
    if plan.once:
        steps = nemesis.in_order(plan.seed, [name for name in plan.faults if name not in skipped])
    nemesis.write_schedule(folder / "schedule.jsonl", steps)
    async with _world(plan, journal, has_disk=able["disk"] is None) as world:
        await _gather(world)
        until_s = math.inf if plan.once else time.monotonic() + plan.seconds
        done = await nemesis.carry_out(world, plan.seed, steps, until_s=until_s)
        await _settle(world, world.allowed_s(plan.patience_s + SETTLE_MARGIN_S))
        report = world.fleet.total()
        await _end(world)
        judge, opinion, verified = await asyncio.to_thread(_judge, world)
    return Outcome(
        plan=plan,
        report=report,
        opinion=opinion,
        verified=verified,
        skipped=skipped,
        steps=done,
        ok_times=judge.ok_times,
        silences=world.silences,
        took_s=time.monotonic() - began_s,
    )


@contextlib.asynccontextmanager
async def _world(plan: Plan, journal: Journal, *, has_disk: bool) -> AsyncIterator[World]:
    folder = Path(plan.folder)
    disk = Disk(folder, size_bytes=DISK_BYTES) if has_disk else None
    proxy = Proxy(random.Random(f"{plan.seed} proxy"))
    place = disk.mount_point if disk is not None else folder
    config = folder / "server.toml"
    config.write_text(SERVER_CONFIG)
    server = ChaosServer(
        place / "data",
        folder / "server-stderr.txt",
        arguments=("--durability", plan.durability, "--config", str(config)),
        package=Path(plan.package) if plan.package else None,
    )
    world = World(folder, server, proxy, Fleet([]), journal, disk, slack=plan.slack)
    try:
        if disk is not None:
            await asyncio.to_thread(disk.make)
        await server.start()
        await proxy.start()
        proxy.target = server.port
        world.fleet = _fleet(plan, server, proxy.port)
        await world.fleet.start()
        yield world
    finally:
        await world.fleet.end()
        await server.kill()
        await proxy.aclose()
        if disk is not None:
            await asyncio.to_thread(disk.remove)
        if not plan.keep:
            shutil.rmtree(folder / "data", ignore_errors=True)
            shutil.rmtree(folder / "histories", ignore_errors=True)
            shutil.rmtree(folder / "memories", ignore_errors=True)


def _fleet(plan: Plan, server: ChaosServer, proxy_port: int) -> Fleet:
    folder = Path(plan.folder)
    for name in ("histories", "keys", "memories"):
        (folder / name).mkdir(exist_ok=True)
    orders = cast(plan.robots, plan.groups, folder=folder, enroll=server.enroll)
    clients = []
    for number in range(PROCESSES):
        port = server.port if number < plan.direct else proxy_port
        order = ClientOrder(
            f"ws://127.0.0.1:{port}",
            tuple(orders[number::PROCESSES]),
            str(folder / "histories" / f"client-{number}.jsonl"),
            f"{plan.seed} client {number}",
            rate=plan.rate,
            patience_s=plan.patience_s * plan.slack,
        )
        clients.append(ClientProcess(order, folder, number=number))
    return Fleet(clients)


async def _gather(world: World) -> None:
    for phase in ("connect", "create", "send"):
        await world.fleet.enter(phase, within_s=world.allowed_s(START_LIMIT_S))
        problems = world.fleet.total().problems
        if problems:
            raise RuntimeError(f"the robots could not {phase}: {problems[:3]}")
    if not await world.fleet.wait_acks(1, within_s=world.allowed_s(START_LIMIT_S)):
        raise TimeoutError(f"nothing was acked in the first {START_LIMIT_S:g} s")


async def _settle(world: World, within_s: float) -> None:
    """Heal everything, resolve everything, drain everything."""
    world.proxy.change(CALM)
    await world.expect_running("the end")
    for phase in ("settle", "drain"):
        try:
            await world.fleet.enter(phase, within_s=within_s)
        except TimeoutError:
            world.finding("the end", f"the robots could not {phase} in {within_s:g} s")
    for problem in world.fleet.total().problems:
        world.finding("the robots", problem)


async def _end(world: World) -> None:
    await world.fleet.end()
    for client in world.fleet.clients:
        if client.errors():
            world.finding("the robots", client.errors()[-2_000:])
    for line in world.server.tracebacks():
        world.finding("the server", line)
    world.server.signal(signal.SIGTERM)
    status = await world.server.wait_exit(within_s=world.allowed_s(20.0))
    if status != 0:
        world.finding("the end", f"the server ended with status {status}, not 0")


def _judge(world: World) -> tuple[Judge, Opinion, Verified]:
    files = sorted((world.folder / "histories").glob("*.jsonl"))
    judge = read_histories(files)
    opinion = judge.judge(world.server.data)
    for witness in opinion.witnesses:
        world.finding("second opinion", witness)
    verified = verify([world.folder / "histories"], read_data_directory(world.server.data))
    if not verified.clean:
        world.finding("imserver verify", verified.to_text()[-4_000:])
    return judge, opinion, verified
