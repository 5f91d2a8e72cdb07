"""One run: a world made from a plan, a phase with faults, the healing, a phase without, and the judgement."""

import gc
import logging
import random
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from imserver.core.model import Append, Created, RobotRecord
from imserver.core.server_settings import ServerSettings
from imserver.core.settings import DeliverySettings, Settings
from imserver.data.memory import MemoryStore
from imserver.logic.membership import body_of
from imserver.protocol.events import GROUP_CREATED, Role
from imserver.protocol.limits import Limits
from imserver.protocol.names import ConversationName, RobotName, direct_members, is_group
from tests.simulation import faults, second_opinion
from tests.simulation.application import Society
from tests.simulation.checks import Judge, members_of
from tests.simulation.disk import Disk, Transaction, logs_of
from tests.simulation.faults import Victims
from tests.simulation.history import History
from tests.simulation.machine import simulated_machine
from tests.simulation.network import Network
from tests.simulation.plan import Plan, make_plan
from tests.simulation.robots import Client
from tests.simulation.server import Server
from tests.simulation.timeline import WALL_START_MS, Timeline
from tests.simulation.trace import Finding, Trace

LEVEL_WITHIN_S = 60.0
"""Virtual time that everything may take to be level after the healing."""

STEPS_MAX = 400_000
_LOOK_S = 0.25


class Result(NamedTuple):
    """What came of a run."""

    plan: Plan
    digest: str
    findings: Sequence[Finding]
    trace: Trace


class World:
    """Everything that exists in a run."""

    def __init__(self, plan: Plan, trace: Trace) -> None:
        self.plan = plan
        self.trace = trace
        self.timeline = Timeline()
        self.history = History()
        network = Network(self.timeline, self.trace, random.Random(f"network {plan.seed}"))
        network.capacity = plan.server.capacity
        self.disk = Disk(self.timeline, self.trace, random.Random(f"disk {plan.seed}"))
        dice = random.Random(f"server {plan.seed}")
        settings = _settings(plan)
        server = Server(self.timeline, network, self.disk, settings=settings, dice=dice)
        server.step_s = plan.server.step_s
        robots = sorted({client.robot for client in plan.clients})
        self.society = Society(network, self.history, robots)
        clients = [Client(self.society, client, seed=plan.seed) for client in plan.clients]
        self.victims = Victims(self.timeline, network, self.disk, server, clients)
        _found(self.disk, robots)

    def run(self) -> None:
        """Live through both phases, and judge."""
        timeline, victims = self.timeline, self.victims
        victims.server.start()
        for client in victims.clients:
            client.start()
        for fault in self.plan.faults:
            timeline.at(fault.at_s, faults.strike, victims, fault)
        timeline.run_until(self.plan.talk_s, steps_max=STEPS_MAX)
        self.trace.note(timeline.now_s, "healed")
        self.society.healed = True
        faults.heal(victims)
        self._converge()
        logs = logs_of(self.disk.replay())
        Judge(self.history, logs, self.disk.durable_at_s, self.trace).judge()
        devices = Counter(client.robot for client in self.plan.clients)
        second_opinion.judge(
            self.history, logs, self.trace, alone={r for r, n in devices.items() if n == 1}
        )

    def bury(self) -> None:
        """Take the world apart."""
        self.trace.is_closed = True
        self.victims.server.bury()
        for client in self.victims.clients:
            client.bury()

    def _converge(self) -> None:
        timeline = self.timeline
        end_s = timeline.now_s + LEVEL_WITHIN_S
        while timeline.now_s < end_s:
            steps = timeline.run_until(timeline.now_s + _LOOK_S, steps_max=STEPS_MAX)
            if steps == STEPS_MAX:
                self.trace.problem("G10 the world spins", f"{steps} steps in {_LOOK_S} s")
                return
            if not self._what_is_missing():
                self.trace.counts["virtual seconds"] += round(timeline.now_s)
                timeline.run_until(timeline.now_s + 0.5, steps_max=STEPS_MAX)
                return
        for story in self._what_is_missing()[:3]:
            self.trace.problem("G10 not level in time", story)

    def _what_is_missing(self) -> list[str]:
        missing = [f"{send} is unknown" for send in self.history.sends if not send.is_resolved]
        if missing:
            return missing
        for conv, log in logs_of(self.disk.replay()).items():
            members = members_of(log) if is_group(conv) else set(_pair(conv))
            missing += [
                f"{client.name} has not all {len(log)} events of {conv}"
                for client in self.victims.clients
                if client.plan.robot in members and not client.is_level(conv, len(log))
            ]
        return missing


def run(plan: Plan, *, verbose: bool = False) -> Result:
    """Run a plan and return what came of it."""
    trace = Trace(verbose=verbose)
    with _undisturbed(), _overheard(trace), simulated_machine():
        _live_through(plan, trace)
    for finding in trace.findings:
        trace.note(0.0, str(finding))
    return Result(plan, trace.digest(), trace.findings, trace)


def _live_through(plan: Plan, trace: Trace) -> None:
    world = World(plan, trace)
    try:
        world.run()
    finally:
        world.bury()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep finalisers from running at random moments, and what they say about killed processes from view."""
    collecting, unraisable = gc.isenabled(), sys.unraisablehook
    gc.disable()
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
            gc.collect(0)
    finally:
        sys.unraisablehook = unraisable
        if collecting:
            gc.enable()


@contextmanager
def _overheard(trace: Trace) -> Iterator[None]:
    """Take what the product logs as its own fault for a finding."""
    watch = _ErrorWatch(trace)
    loggers = [logging.getLogger(name) for name in ("imserver", "client_sdk")]
    for logger in loggers:
        logger.addHandler(watch)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(watch)
            logger.propagate = True


def first_finding(seeds: Iterable[int], *, rule: str = "") -> Result | None:
    """Run seeds until one breaks a rule whose name begins with ``rule``; return its result, or None."""
    for seed in seeds:
        result = run(make_plan(seed))
        if any(finding.rule.startswith(rule) for finding in result.findings):
            return result
    return None


class _ErrorWatch(logging.Handler):
    def __init__(self, trace: Trace) -> None:
        super().__init__(logging.ERROR)
        self._trace = trace

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = f"{record.getMessage()}: {error!r}"
        if "simulated" in text or "simulated" in str(getattr(record, "reason", "")):
            self._trace.counts["faults that the server logged"] += 1
        else:
            self._trace.problem("an error was logged", text)


def _settings(plan: Plan) -> Settings:
    server = plan.server
    return Settings(
        server=ServerSettings(hello_timeout_s=3.0, ping_interval_s=2.0, drain_timeout_s=1.0),
        limits=Limits(requests_max=server.requests_max),
        delivery=DeliverySettings(
            write_buffer_bytes_max=server.write_buffer_bytes_max,
            page_bytes_max=server.page_bytes_max,
            tail_bytes_max=server.tail_bytes_max,
            cursor_flush_s=server.cursor_flush_s,
            head_interval_s=2.0,
        ),
    )


def _found(disk: Disk, robots: Sequence[str]) -> None:
    """Write the world's beginning: robots that are known, and a group of all of them."""
    conv, owner = ConversationName("g/base"), RobotName(robots[0])
    change = Created({RobotName(r): Role.MEMBER for r in robots} | {owner: Role.OWNER}, open=False)
    event = Append(
        conv, WALL_START_MS, owner, "@base", GROUP_CREATED, body_of(change), None, change
    )

    async def begin(memory: MemoryStore) -> None:
        for name in robots:
            await memory.ensure_robot(RobotRecord(RobotName(name), None, WALL_START_MS))
        await memory.append([event], [])

    disk.transactions.append(Transaction(begin, synced=True))


def _pair(conv: str) -> tuple[str, str]:
    return direct_members(ConversationName(conv))
