"""One run: a world made from a plan, a phase with faults, the healing, a phase without, and the judgement."""

import gc
import itertools
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
from imserver.core.settings import DeliverySettings, RetentionSettings, Settings
from imserver.data.memory.store import MemoryStore
from imserver.logic.membership import body_of
from imserver.protocol.events import GROUP_CREATED, Role
from imserver.protocol.limits import Limits
from imserver.protocol.names import ConversationName, RobotName
from tests.simulation import faults, second_opinion
from tests.simulation.checks import Judge
from tests.simulation.disk import Disk, Transaction
from tests.simulation.faults import Victims
from tests.simulation.history import History
from tests.simulation.machine import simulated_machine
from tests.simulation.network import Network
from tests.simulation.operator import Operator
from tests.simulation.pages import PageJudge
from tests.simulation.plan import FORGETTING, Plan, make_plan
from tests.simulation.robots import Client
from tests.simulation.server import Server
from tests.simulation.shown import ShownJudge
from tests.simulation.society import BASE, BEAT, Society
from tests.simulation.taps import tapped_server
from tests.simulation.timeline import WALL_START_MS, Timeline
from tests.simulation.trace import Finding, Trace
from tests.simulation.truth import Archive, Place, members_of

LEVEL_WITHIN_S = 60.0
"""Virtual time that everything may take to be level after the healing."""

STEPS_MAX = 400_000
_YOUNGEST, _OLDEST = 0, 2
_RUNS_A_SWEEP = 25
_runs = itertools.count(1)
_LOOK_S = 0.25
_EXPECTED = ("data_loss.suspected", "retention.clock_jumped")


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
        society = self.society = Society(network, self.disk, self.history, robots)
        society.cids_last = not plan.server.lets_go
        society.cids_last &= not any(fault.kind in FORGETTING for fault in plan.faults)
        dice = random.Random(f"operator {plan.seed}")
        operator = Operator(self.timeline, server, dice, society.lose)
        clients = [Client(society, client, seed=plan.seed) for client in plan.clients]
        self.victims = Victims(
            self.timeline, network, self.disk, server, operator, society, clients
        )
        _found(self.disk, robots)

    def run(self) -> None:
        """Live through both phases, and judge."""
        timeline, victims = self.timeline, self.victims
        victims.server.start()
        for client in victims.clients:
            timeline.at(client.plan.from_s, client.start)
        for fault in self.plan.faults:
            timeline.at(fault.at_s, faults.strike, victims, fault)
        timeline.run_until(self.plan.talk_s, steps_max=STEPS_MAX)
        self.trace.note(timeline.now_s, "healed")
        self.society.heal()
        faults.heal(victims)
        self._converge()
        self._judge()

    def _judge(self) -> None:
        history, truth, trace = self.history, self.disk.end(), self.trace
        sends = Judge(history, truth, trace, refused=self.victims.server.refused)
        sends.judge(self.society.witnesses)
        shown = ShownJudge(truth, trace)
        for life in history.lives:
            shown.judge(life)
        pages = PageJudge(truth, shown, trace)
        for page in history.pages:
            pages.judge(page)
        devices = Counter(client.robot for client in self.plan.clients)
        alone = {robot for robot, count in devices.items() if count == 1} - self.society.doubled
        if truth.lost_tails:
            trace.counts["worlds that only one judge can judge"] += 1
        else:
            second_opinion.judge(history, truth, trace, alone=alone)

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
        for missing in self._what_is_missing()[:3]:
            self.trace.problem(missing.rule, f"{missing.story} after {LEVEL_WITHIN_S} s")

    def _what_is_missing(self) -> list[Finding]:
        """Return what is not level, the roots of it first."""
        missing = [
            Finding("G10 a send stays unknown", str(send))
            for send in self.history.sends
            if not send.is_resolved
        ]
        missing += [Finding("G10 a log stays halted", conv) for conv in sorted(self.disk.halted)]
        missing += [
            Finding("G10 a device has not one session", f"{client.name} has {lives} processes")
            for client in self.victims.clients
            if (lives := len(client.claimants)) != 1 or not client.claimants[0].is_online
        ]
        if missing:
            return missing
        store = self.disk.replay()
        return [*self._who_is_behind(store), *self._who_is_deaf(store)]

    def _who_is_behind(self, store: Archive) -> Iterator[Finding]:
        for conv, log in store._logs.items():
            members = members_of(store, conv)
            for client in self.victims.clients:
                if client.plan.robot not in members:
                    continue
                if not client.claimants[0].is_level(conv, Place(log.epoch, log.head)):
                    what = f"{client.name} has not all {log.head} events of {conv}"
                    yield Finding("G10 a member is behind", what)

    def _who_is_deaf(self, store: Archive) -> Iterator[Finding]:
        """Yield who of the first group has heard no sign of life from which member since the healing."""
        log = store._logs[BASE]
        writers = {robot for robot, member in log.members.items() if member.role != Role.OBSERVER}
        for client in self.victims.clients:
            heard = {
                heard.sender
                for heard in client.claimants[0].life.heard
                if heard.key.endswith(BEAT) and heard.value > self.society.healed_at_beat
            }
            if client.plan.robot in log.members:
                for robot in sorted(writers - heard - {client.plan.robot}):
                    what = f"{client.name} hears nothing of {robot}"
                    yield Finding("G10 signals do not arrive", what)


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
    refused = world.victims.server.refused
    with tapped_server(refused, batch_events_max=plan.server.batch_events_max):
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
            gc.collect(_YOUNGEST if next(_runs) % _RUNS_A_SWEEP else _OLDEST)
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
        if record.getMessage() in _EXPECTED:
            self._trace.counts[f"alarms: {record.getMessage()}"] += 1
        elif "simulated" in text or "simulated" in str(getattr(record, "reason", "")):
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
            pending_bytes_max=server.pending_bytes_max,
            head_interval_s=2.0,
        ),
        retention=RetentionSettings(
            age_s=server.keep_s,
            events=server.keep_events,
            body_bytes=server.keep_bytes,
            interval_s=server.sweep_s,
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
        await memory.append([event])

    disk.transactions.append(Transaction(begin, synced=True, begins_epoch=True))
