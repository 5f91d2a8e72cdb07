"""The simulated robots: processes with the real SDK and an application that talks, reads and manages groups.

What an application does is drawn from its own dice, so that leaving one robot out of a plan does not change
what the others do.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from client_sdk import OutcomeUnknown, Refused, Robot, RobotError
from client_sdk.options import Options
from client_sdk.records import Gap
from client_sdk.volatile_memory import VolatileMemory
from imserver.core.tokens import bearer
from imserver.protocol.errors import ErrorCode
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
from tests.simulation.server import AUTHORITY
from tests.simulation.timeline import WALL_START_MS, SimLoop, Timeline
from tests.simulation.trace import Trace
from tests.simulation.watch import Watch

URL = "ws://server:7400"
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


class Client:
    """A robot's device: one life of its process after the other.

    Attributes:
        loop: of the present life; None while there is none.
        slow_until_s: its application takes no event before.
    """

    def __init__(self, society: Society, plan: ClientPlan, *, seed: int) -> None:
        self.plan = plan
        self.loop: SimLoop | None = None
        self.slow_until_s = 0.0
        self._society = society
        self._trace = society.trace
        self._dice = random.Random(f"client {seed} {plan.number}")
        self._lives = 0
        self._life = 0
        self._robot: Robot | None = None
        self._dead: list[SimLoop] = []
        self._paused_s = 0.0
        self._wall_skew_ms = 0.0
        self._asking: set[int] = set()
        self._memory = VolatileMemory() if plan.remembers else None
        claims = bearer(
            plan.robot, token_id="0" * 20, now_ms=WALL_START_MS, ttl_ms=10 * 365 * 86_400_000
        )
        self._token = AUTHORITY.mint(claims)

    @property
    def name(self) -> str:
        """Which robot and device."""
        return f"{self.plan.robot}/{self.plan.device}"

    def start(self) -> None:
        """Begin a life, unless there is one."""
        if self.loop is not None:
            return
        self._lives += 1
        society = self._society
        dice = random.Random(self._dice.getrandbits(64))
        name = f"{self.name}.{self._lives}"
        loop = SimLoop(society.timeline, self._trace, name, dice=dice, step_s=0.000_01)
        loop.wall_skew_ms = self._wall_skew_ms
        self.loop = loop
        self._asking.clear()
        society.network.attach(loop)
        plan, history = self.plan, society.history
        before = history.done_by(plan.robot, plan.device)
        life = Life(name, plan.robot, plan.device, before=before)
        self._life, self._robot = len(history.lives), None
        history.lives.append(life)
        loop.inside(loop.create_task, self._live(loop, life))

    def kill(self, restart_in_s: float) -> None:
        """End the present life at once, and begin another one after a while."""
        loop = self.loop
        if loop is None:
            return
        self._trace.counts["client kills"] += 1
        self._trace.note(self._society.timeline.now_s, f"{loop.name} is killed")
        self.loop = None
        self._dead.append(loop)
        loop.die()
        self._society.network.drop_process(loop, politely=self._dice.random() < 0.5)
        self._society.timeline.after(restart_in_s, self.start)

    def pause(self, seconds: float) -> None:
        """Let the process stand still."""
        if self.loop is not None:
            self._trace.counts["client pauses"] += 1
            self._paused_s += seconds
            self.loop.pause(seconds)

    def jump_clock(self, milliseconds: float) -> None:
        """Set the calendar clock of the machine."""
        self._wall_skew_ms += milliseconds
        if self.loop is not None:
            self.loop.wall_skew_ms = self._wall_skew_ms

    def bury(self) -> None:
        """Take apart all lives."""
        if self.loop is not None:
            self._dead.append(self.loop)
        for loop in self._dead:
            loop.bury()
        self._dead.clear()

    def is_level(self, conv: str, head: int) -> bool:
        """Tell whether the SDK has everything up to ``head``, and the application has processed it."""
        if self._robot is None:
            return False
        inbox = self._robot._link.machine.inbox
        known = inbox.known(conv)
        life = self._society.history.lives[self._life]
        idle = not len(inbox) and (not life.seen or life.seen[-1].done_s is not None)
        return idle and known is not None and (known.received or 0) >= head

    def mine(self) -> list[Send]:
        """Return what this device wanted to send."""
        return [
            send
            for send in self._society.history.sends
            if (send.robot, send.device) == (self.plan.robot, self.plan.device)
        ]

    async def _live(self, loop: SimLoop, life: Life) -> None:
        plan = self.plan
        options = Options(
            codec="json" if plan.codec == "json" else "msgpack",
            window=plan.window,
            connect_timeout_s=1e6,
            open_timeout_s=2.0,
            request_timeout_s=4.0,
            ping_interval_s=1.5,
            backoff_cap_s=1.0,
        )
        if self._memory is not None:
            self._memory.close()  # its lock died with the process that held it
        robot = Robot(
            URL,
            name=plan.robot,
            device=plan.device,
            bearer=self._token,
            memory=self._memory,
            options=options,
        )
        self._robot = robot
        machine = robot._link.machine
        watch = Watch(self._trace, loop.name, plan.robot, json=plan.codec == "json")
        watch.tap(machine)
        try:
            async with robot, asyncio.TaskGroup() as tasks:
                self._trace.note(loop.time(), f"{loop.name} is online")
                tasks.create_task(self._read(robot, life))
                tasks.create_task(self._talk(robot, life, tasks))
        except* RobotError as group:
            self._trace.problem("a robot gave up", f"{loop.name}: {group.exceptions!r}")
        except* Exception as group:  # noqa: BLE001  whatever it is, it is a finding
            self._trace.problem("a robot broke", f"{loop.name}: {group.exceptions!r}")

    # Reading

    async def _read(self, robot: Robot, life: Life) -> None:
        loop, dice, timeline = asyncio.get_running_loop(), self._dice, self._society.timeline
        async for item in robot.events(gaps=True):
            if isinstance(item, Gap):
                hole = Seen(timeline.now_s, item.conv, item.last, "", item.why, HOLE, item.first)
                life.seen.append(hole)
                self._trace.counts["gaps told"] += 1
                continue
            seen = Seen(
                timeline.now_s, item.conv, item.seq, item.sender, item.cid, item.kind, item.body
            )
            if item.conv not in life.robot_before:
                done = self._society.history.done_by(life.robot, None)
                life.robot_before[item.conv] = done.get(item.conv, 0)
            life.seen.append(seen)
            self._trace.note(timeline.now_s, f"{life.name} sees {item.conv} {item.seq} {item.cid}")
            if self.slow_until_s > loop.time():
                self._trace.counts["readers stalled"] += 1
                await asyncio.sleep(self.slow_until_s - loop.time())
            if self.plan.read_s:
                await asyncio.sleep(dice.uniform(0.0, self.plan.read_s))
            seen.done_s = timeline.now_s
            life.done[item.conv] = max(item.seq, life.done.get(item.conv, 0))

    # Talking

    async def _talk(self, robot: Robot, life: Life, tasks: asyncio.TaskGroup) -> None:
        society, dice, plan = self._society, self._dice, self.plan
        if dice.random() < 0.5:
            for send in self.mine():
                if not send.is_resolved:
                    self._trace.counts["sends taken up after a restart"] += 1
                    tasks.create_task(self._attempt(robot, send, 8.0))
        while not society.healed:
            tasks.create_task(self._act(robot, life))
            await asyncio.sleep(dice.expovariate(plan.rate))
        while True:
            for send in self.mine():
                if not send.is_resolved and send.number not in self._asking:
                    await self._attempt(robot, send, 8.0)
            await asyncio.sleep(0.3)

    async def _act(self, robot: Robot, life: Life) -> None:
        dice, plan = self._dice, self.plan
        if dice.random() < plan.boldness:
            await self._change_groups(robot)
            return
        match dice.randrange(8):
            case 0:
                await self._look_back(robot, life)
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
                together.create_task(self._attempt(robot, send, timeout_s))

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
        paused_s = self._paused_s
        late_s = loop.time() + timeout_s + SLACK_S
        attempt = Attempt(f"{self.name}.{self._lives}", loop.time(), late_s)
        send.attempts.append(attempt)
        self._asking.add(send.number)
        try:
            sent = await robot.send(send.conv, send.body, cid=send.cid, timeout_s=timeout_s)
            attempt.outcome, attempt.seq, attempt.dup = STORED, sent.seq, sent.dup
        except Refused as refusal:
            passes = refusal.code in (ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE)
            attempt.outcome, attempt.why = UNKNOWN if passes else REFUSED, str(refusal)
        except OutcomeUnknown as unknown:
            attempt.outcome, attempt.why = UNKNOWN, str(unknown)
        self._asking.discard(send.number)
        attempt.ended_s = loop.time()
        attempt.late_s += self._paused_s - paused_s
        self._trace.counts[f"sends {attempt.outcome}"] += 1
        if attempt.dup:
            self._trace.counts["repeated sends found stored"] += 1
        text = f"{attempt.of}: {send}: {attempt.outcome} {attempt.seq} {attempt.why}"
        self._trace.note(loop.time(), text)

    # Looking back and managing groups

    async def _look_back(self, robot: Robot, life: Life) -> None:
        dice, timeline = self._dice, self._society.timeline
        conv = dice.choice(self._society.groups)
        asked: dict[str, Any] = {"limit": dice.choice((1, 5, 100))}
        if dice.random() < 0.5:
            asked["after"] = dice.randrange(max(1, life.done.get(conv, 1)))
        try:
            page = await robot.history(conv, **asked)
        except RobotError:
            return
        self._trace.counts["pages of history"] += 1
        self._society.history.pages += [
            Seen(timeline.now_s, e.conv, e.seq, e.sender, e.cid, e.kind, e.body) for e in page
        ]

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
