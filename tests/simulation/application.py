"""The application of a simulated robot: it talks, reads at its own pace, looks back and manages groups.

What it does is drawn from its robot's own dice, so that leaving one robot out of a plan does not change what
the others do.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from client_sdk import OutcomeUnknown, Refused, Robot, RobotError
from client_sdk.records import Event, Gap
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import EDIT, REDACT
from imserver.protocol.names import direct
from tests.simulation.history import (
    HOLE,
    REFUSED,
    STORED,
    UNKNOWN,
    Attempt,
    History,
    Life,
    Seen,
    Send,
)
from tests.simulation.network import Network
from tests.simulation.plan import ClientPlan
from tests.simulation.timeline import Timeline
from tests.simulation.trace import Trace

TIMEOUTS_S = (0.3, 2.0, 8.0)
SLACK_S = 0.5
"""How much later than its deadline a send may end, besides the time its process was paused."""


class Society:
    """What all robots know of the world: its time, its network, its groups, each other."""

    def __init__(self, network: Network, history: History, robots: list[str]) -> None:
        self.network = network
        self.timeline: Timeline = network.timeline
        self.trace: Trace = network.trace
        self.history = history
        self.robots = robots
        self.groups = ["g/base"]
        self.healed = False
        self.names = 0


class Pace:
    """What befalls a robot's process from outside.

    Attributes:
        slow_until_s: its application processes nothing before.
        paused_s: how long its process stood still so far.
    """

    def __init__(self) -> None:
        self.slow_until_s = 0.0
        self.paused_s = 0.0


class Application:
    """What runs in one life of a robot's process."""

    def __init__(
        self, society: Society, plan: ClientPlan, *, life: Life, pace: Pace, dice: random.Random
    ) -> None:
        self.plan = plan
        self._society = society
        self._trace = society.trace
        self._life = life
        self._pace = pace
        self._dice = dice
        self._asking: set[int] = set()

    async def run(self, robot: Robot) -> None:
        """Read and talk until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(robot))
            tasks.create_task(self._talk(robot, tasks))

    def mine(self) -> list[Send]:
        """Return what this device wanted to send."""
        return [
            send
            for send in self._society.history.sends
            if (send.robot, send.device) == (self.plan.robot, self.plan.device)
        ]

    async def _read(self, robot: Robot) -> None:
        dice, timeline, life = self._dice, self._society.timeline, self._life
        async for item in robot.events(gaps=True):
            if isinstance(item, Gap):
                hole = Seen(timeline.now_s, item.conv, item.last, "", item.why, HOLE, item.first)
                hole.done_s = timeline.now_s
                life.seen.append(hole)
                self._trace.counts["gaps told"] += 1
                continue
            seen = _seen(item, timeline.now_s)
            if item.conv not in life.robot_before:
                done = self._society.history.done_by(life.robot, None)
                life.robot_before[item.conv] = done.get(item.conv, 0)
            life.seen.append(seen)
            self._trace.note(timeline.now_s, f"{life.name} sees {item.conv} {item.seq} {item.cid}")
            if self._pace.slow_until_s > timeline.now_s:
                self._trace.counts["readers stalled"] += 1
                await asyncio.sleep(self._pace.slow_until_s - timeline.now_s)
            if self.plan.read_s:
                await asyncio.sleep(dice.uniform(0.0, self.plan.read_s))
            seen.done_s = timeline.now_s
            life.done[item.conv] = max(item.seq, life.done.get(item.conv, 0))

    async def _talk(self, robot: Robot, tasks: asyncio.TaskGroup) -> None:
        society, dice, plan = self._society, self._dice, self.plan
        if dice.random() < 0.5:
            for send in self.mine():
                if not send.is_resolved:
                    self._trace.counts["sends taken up after a restart"] += 1
                    tasks.create_task(self._attempt(robot, send, 8.0))
        while not society.healed:
            tasks.create_task(self._act(robot))
            await asyncio.sleep(dice.expovariate(plan.rate))
        while True:
            for send in self.mine():
                if not send.is_resolved and send.number not in self._asking:
                    await self._attempt(robot, send, 8.0)
            await asyncio.sleep(0.3)

    async def _act(self, robot: Robot) -> None:
        dice, plan = self._dice, self.plan
        if dice.random() < plan.boldness:
            await self._change_groups(robot)
            return
        match dice.randrange(8):
            case 0:
                await self._look_back(robot)
            case 1:
                await self._say_again(robot)
            case _:
                await self._say(robot)

    async def _say(self, robot: Robot) -> None:
        dice, plan, society = self._dice, self.plan, self._society
        conv = dice.choice(society.groups)
        others = [name for name in society.robots if name != plan.robot]
        if others and dice.random() < 0.15:
            conv = direct(plan.robot, dice.choice(others))
        timeout_s = dice.choice(TIMEOUTS_S)
        async with asyncio.TaskGroup() as together:
            for _ in range(dice.randint(1, plan.burst)):
                send = society.history.new_send(plan.robot, plan.device, conv)
                self._make_amendment(send)
                together.create_task(self._attempt(robot, send, timeout_s))

    def _make_amendment(self, send: Send) -> None:
        """Let a send change an earlier one of this device, now and then."""
        earlier = [known for known in self.mine() if known.conv == send.conv and known.was_stored]
        if earlier and self._dice.random() < 0.15:
            changed = self._dice.choice(earlier)
            send.kind = self._dice.choice((EDIT, REDACT))
            send.ref = next(a.seq for a in changed.attempts if a.outcome == STORED)

    async def _say_again(self, robot: Robot) -> None:
        """Send what was stored before once more, or something else under the same cid."""
        stored = [send for send in self.mine() if send.was_stored]
        if not stored:
            return
        send = self._dice.choice(stored)
        if self._dice.random() < 0.7:
            await self._attempt(robot, send, 2.0)
            return
        try:
            sent = await robot.send(send.conv, {"n": -1}, cid=send.cid, timeout_s=2.0)
        except Refused as refusal:
            self._trace.counts[f"another body under a known cid: {refusal.code}"] += 1
        except RobotError:
            return
        else:
            self._trace.problem("G4 another body was accepted", f"{send}: {sent}")

    async def _attempt(self, robot: Robot, send: Send, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        paused_s = self._pace.paused_s
        late_s = loop.time() + timeout_s + SLACK_S
        attempt = Attempt(self._life.name, loop.time(), late_s)
        send.attempts.append(attempt)
        self._asking.add(send.number)
        try:
            sent = await robot.send(
                send.conv,
                send.body,
                kind=send.kind,
                ref=send.ref,
                cid=send.cid,
                timeout_s=timeout_s,
            )
            attempt.outcome, attempt.seq, attempt.dup = STORED, sent.seq, sent.dup
        except Refused as refusal:
            passes = refusal.code in (ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE)
            attempt.outcome, attempt.why = UNKNOWN if passes else REFUSED, str(refusal)
        except OutcomeUnknown as unknown:
            attempt.outcome, attempt.why = UNKNOWN, str(unknown)
        self._asking.discard(send.number)
        attempt.ended_s = loop.time()
        attempt.late_s += self._pace.paused_s - paused_s
        self._trace.counts[f"sends {attempt.outcome}"] += 1
        if attempt.dup:
            self._trace.counts["repeated sends found stored"] += 1
        text = f"{attempt.of}: {send}: {attempt.outcome} {attempt.seq} {attempt.why}"
        self._trace.note(loop.time(), text)

    async def _look_back(self, robot: Robot) -> None:
        dice, timeline = self._dice, self._society.timeline
        conv = dice.choice(self._society.groups)
        asked: dict[str, Any] = {"limit": dice.choice((1, 5, 100))}
        if dice.random() < 0.5:
            asked["after"] = dice.randrange(max(1, self._life.done.get(conv, 1)))
        try:
            page = await robot.history(conv, **asked)
        except RobotError:
            return
        self._trace.counts["pages of history"] += 1
        self._society.history.pages += [_seen(event, timeline.now_s) for event in page]

    async def _change_groups(self, robot: Robot) -> None:
        dice, society = self._dice, self._society
        conv, other = dice.choice(society.groups), dice.choice(society.robots)
        changes: list[tuple[str, Callable[[], Any]]] = [
            ("removals", lambda: robot.remove_members(conv, [other])),
            ("removals", lambda: robot.remove_members(conv, [other])),
            ("additions", lambda: robot.add_members(conv, [other])),
            ("additions", lambda: robot.add_members(conv, list(society.robots))),
            ("groups created", lambda: self._create(robot)),
            ("leaves", lambda: robot.leave(conv)),
            ("changes of role", lambda: robot.set_role(conv, other, dice.choice(_ROLES))),
            ("joins", lambda: robot.join(conv)),
        ]
        if conv != "g/base" and dice.random() < 0.1:
            changes = [("groups deleted", lambda: robot.delete_group(conv))]
        what, change = dice.choice(changes)
        try:
            await change()
        except RobotError:
            self._trace.counts[f"{what}: not told as done"] += 1
        else:
            self._trace.counts[what] += 1

    async def _create(self, robot: Robot) -> None:
        society = self._society
        if len(society.groups) >= 4:
            return
        society.names += 1
        name = f"{self.plan.robot}{society.names}"
        members = [robot for robot in society.robots if self._dice.random() < 0.7]
        conv = await robot.create_group(name, members, open=self._dice.random() < 0.5)
        society.groups.append(conv)


_ROLES = ("admin", "member", "observer", "owner")


def _seen(event: Event, now_s: float) -> Seen:
    return Seen(
        now_s,
        event.conv,
        event.seq,
        event.sender,
        event.cid,
        event.kind,
        event.body,
        event.ref,
    )
