"""The application of a simulated robot: it talks, reads at its own pace, and asks.

What it does is drawn from its robot's own dice, so that leaving one robot out of a plan does not change what
the others do.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

from client_sdk import OutcomeUnknown, Refused, Robot, RobotError, State
from client_sdk.records import Gap
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import EDIT, REDACT
from imserver.protocol.names import direct
from tests.simulation.asking import Asking, seen
from tests.simulation.history import REFUSED, STORED, UNKNOWN, Attempt, Heard, Hole, Life, Send
from tests.simulation.plan import ClientPlan
from tests.simulation.society import BASE, Pace, Society
from tests.simulation.truth import Place

TIMEOUTS_S = (0.3, 2.0, 8.0)
FLOOD_BYTES = 1_200
SLACK_S = 0.5
"""How much later than its deadline a send may end, besides the time its process was paused."""


class Application:
    """What runs in one life of a robot's process.

    Attributes:
        asking: its requests besides sends.
        robot: the SDK's; None before it is online.
    """

    def __init__(
        self, society: Society, plan: ClientPlan, *, life: Life, pace: Pace, dice: random.Random
    ) -> None:
        self.plan = plan
        self.asking = Asking(society, life, dice)
        self.robot: Robot | None = None
        self._society = society
        self._trace = society.trace
        self._life = life
        self._pace = pace
        self._dice = dice
        self._tasks = asyncio.TaskGroup()
        self._attempting: set[int] = set()

    async def run(self, robot: Robot) -> None:
        """Read and talk until cancelled."""
        async with self._tasks:
            self.robot = robot
            self.begin(self._read(robot))
            self.begin(self._hear(robot))
            self.begin(self._talk(robot))

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something besides."""
        self._tasks.create_task(work)

    def mine(self) -> list[Send]:
        """Return what this device wanted to send."""
        return [
            send
            for send in self._society.history.sends
            if (send.robot, send.device) == (self.plan.robot, self.plan.device)
        ]

    async def flood(self, robot: Robot, count: int) -> None:
        """Send much at once, of which each alone is more than a small buffer takes."""
        plan, society = self.plan, self._society
        async with asyncio.TaskGroup() as together:
            for _ in range(count):
                send = society.history.new_send(plan.robot, plan.device, BASE, pad=FLOOD_BYTES)
                together.create_task(self._attempt(robot, send, 8.0))

    async def _read(self, robot: Robot) -> None:
        dice, timeline, life = self._dice, self._society.timeline, self._life
        async for item in robot.events(gaps=True):
            if item.conv not in life.robot_before:
                life.robot_before[item.conv] = self._robot_done(item.conv)
            shown = self._hole(item) if isinstance(item, Gap) else seen(item, timeline.now_s)
            life.seen.append(shown)
            self._trace.note(timeline.now_s, f"{life.name} sees {_words(shown)}")
            if self._pace.slow_until_s > timeline.now_s:
                self._trace.counts["readers stalled"] += 1
                await asyncio.sleep(self._pace.slow_until_s - timeline.now_s)
            if self.plan.read_s:
                await asyncio.sleep(dice.uniform(0.0, self.plan.read_s))
            shown.done_s = timeline.now_s
            life.done[item.conv] = shown.end

    def _hole(self, gap: Gap) -> Hole:
        self._trace.counts[f"gaps told: {gap.why}"] += 1
        return Hole(
            self._society.timeline.now_s,
            gap.conv,
            gap.epoch,
            gap.first,
            gap.last,
            gap.why,
            gap.after,
            robot_done=self._robot_done(gap.conv),
        )

    def _robot_done(self, conv: str) -> list[Place]:
        return self._society.history.done_by(self._life.robot, conv)

    async def _hear(self, robot: Robot) -> None:
        timeline, heard = self._society.timeline, self._life.heard
        async for signal in robot.signals():
            if signal.key.startswith("@"):
                self._trace.counts["news of presence"] += 1
                continue
            self._trace.counts["signals heard"] += 1
            heard.append(
                Heard(timeline.now_s, signal.conv, signal.sender, signal.key, signal.body["n"])
            )

    async def _talk(self, robot: Robot) -> None:
        society, dice, plan = self._society, self._dice, self.plan
        if dice.random() < 0.5:
            for send in self.mine():
                if not send.is_resolved:
                    self._trace.counts["sends taken up after a restart"] += 1
                    self.begin(self._attempt(robot, send, 8.0))
        while not society.is_healed():
            self.begin(self._act(robot))
            next_s = society.timeline.now_s + dice.expovariate(plan.rate)
            while (wait_s := next_s - society.timeline.now_s) > 0 and not society.is_healed():
                await asyncio.sleep(min(1.0, wait_s))
        self.begin(self._give_signs_of_life(robot))
        while True:
            for send in self.mine():
                if not send.is_resolved and send.number not in self._attempting:
                    await self._attempt(robot, send, 8.0)
            await asyncio.sleep(0.3)

    async def _give_signs_of_life(self, robot: Robot) -> None:
        while True:
            self.asking.signal(robot, BASE)
            await asyncio.sleep(0.4)

    async def _act(self, robot: Robot) -> None:
        dice, plan = self._dice, self.plan
        if dice.random() < plan.boldness:
            await self.asking.change_groups(robot)
            return
        match dice.randrange(9):
            case 0:
                await self.asking.look_back(robot)
            case 1:
                await self._say_again(robot)
            case 2:
                self.asking.signal(robot)
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
                pad = dice.randint(0, plan.pad)
                send = society.history.new_send(plan.robot, plan.device, conv, pad=pad)
                self._make_amendment(send)
                together.create_task(self._attempt(robot, send, timeout_s))

    def _make_amendment(self, send: Send) -> None:
        """Let a send change an earlier one of this device, now and then."""
        if self._dice.random() > 0.2:
            return
        earlier = [known for known in self.mine() if known.conv == send.conv and known.stored]
        if earlier:
            changed = self._dice.choice(earlier)
            send.kind = self._dice.choice((EDIT, REDACT))
            send.ref = changed.stored[0].seq

    async def _say_again(self, robot: Robot) -> None:
        """Send what was stored before once more, or something else under the same cid."""
        stored = [send for send in self.mine() if send.stored]
        if not stored:
            return
        send = self._dice.choice(stored)
        if self._dice.random() < 0.7 or not self._society.cids_last:
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
        attempt = Attempt(self._life.name, loop.time(), loop.time() + timeout_s + SLACK_S)
        send.attempts.append(attempt)
        self._attempting.add(send.number)
        try:
            sent = await robot.send(
                send.conv,
                send.body,
                kind=send.kind,
                ref=send.ref,
                cid=send.cid,
                timeout_s=timeout_s,
            )
            attempt.outcome, attempt.dup = STORED, sent.dup
            attempt.epoch, attempt.seq = sent.epoch, sent.seq
        except Refused as refusal:
            passes = refusal.code in (ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE)
            attempt.outcome, attempt.why = UNKNOWN if passes else REFUSED, str(refusal)
        except OutcomeUnknown as unknown:
            attempt.outcome, attempt.why = UNKNOWN, str(unknown)
        except RobotError as over:
            if robot.state is not State.OVER:
                raise
            attempt.outcome, attempt.why = UNKNOWN, str(over)
        self._attempting.discard(send.number)
        attempt.ended_s = loop.time()
        attempt.late_s += self._pace.paused_s - paused_s
        self._trace.counts[f"sends {attempt.outcome}"] += 1
        if attempt.dup:
            self._trace.counts["repeated sends found stored"] += 1
        text = f"{attempt.of}: {send}: {attempt.outcome} {attempt.seq} {attempt.why}"
        self._trace.note(loop.time(), text)


def _words(item: Any) -> str:
    if isinstance(item, Hole):
        return f"{item.conv} {item.first} to {item.last} will not come ({item.why})"
    return f"{item.conv} {item.seq} {item.cid}"
