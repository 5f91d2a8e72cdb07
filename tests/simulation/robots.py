"""The simulated robots: processes with the real SDK and an application, one life after the other."""

import asyncio
import hashlib
import random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk import Robot, RobotError
from client_sdk.keys import RobotKey
from client_sdk.options import Options
from client_sdk.volatile_memory import VolatileMemory
from imserver.core.tokens import bearer, enrolment
from tests.simulation.application import Application, Pace, Society
from tests.simulation.history import Life
from tests.simulation.plan import ClientPlan
from tests.simulation.server import AUTHORITY
from tests.simulation.timeline import WALL_START_MS, SimLoop
from tests.simulation.watch import Watch

URL = "ws://server:7400"
_YEARS_MS = 10 * 365 * 86_400_000


class Client:
    """A robot's device.

    Attributes:
        loop: of the present life; None while there is none.
        pace: what befalls its process.
    """

    def __init__(self, society: Society, plan: ClientPlan, *, seed: int) -> None:
        self.plan = plan
        self.loop: SimLoop | None = None
        self.pace = Pace()
        self._society = society
        self._trace = society.trace
        self._dice = random.Random(f"client {seed} {plan.number}")
        self._lives = 0
        self._life: Life | None = None
        self._robot: Robot | None = None
        self._leaving: asyncio.Event | None = None
        self._dead: list[SimLoop] = []
        self._wall_skew_ms = 0.0
        self._memory = VolatileMemory() if plan.remembers else None
        self._credentials = _credentials(plan)

    @property
    def name(self) -> str:
        """Which robot and device."""
        return f"{self.plan.robot}/{self.plan.device}"

    def start(self) -> None:
        """Begin a life, unless there is one."""
        if self.loop is not None:
            return
        self._lives += 1
        society, plan = self._society, self.plan
        dice = random.Random(self._dice.getrandbits(64))
        name = f"{self.name}.{self._lives}"
        loop = SimLoop(society.timeline, self._trace, name, dice=dice, step_s=0.000_01)
        loop.wall_skew_ms = self._wall_skew_ms
        self.loop, self._robot = loop, None
        society.network.attach(loop)
        before = society.history.done_by(plan.robot, plan.device)
        life = self._life = Life(name, plan.robot, plan.device, before=before)
        society.history.lives.append(life)
        self._leaving = asyncio.Event()
        loop.inside(loop.create_task, self._live(loop, life, self._leaving))

    def kill(self, restart_in_s: float) -> None:
        """End the present life at once, and begin another one after a while."""
        if self.loop is not None:
            self._trace.counts["client kills"] += 1
            self._end(self.loop, restart_in_s, politely=self._dice.random() < 0.5)

    def leave(self) -> None:
        """Ask the present life to close its robot and end; another one begins soon."""
        if self.loop is not None and self._leaving is not None:
            self._trace.counts["clients left and came back"] += 1
            self.loop.inside(self._leaving.set)

    def pause(self, seconds: float) -> None:
        """Let the process stand still."""
        if self.loop is not None:
            self._trace.counts["client pauses"] += 1
            self.pace.paused_s += seconds
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
        if self._robot is None or self._life is None:
            return False
        inbox, seen = self._robot._link.machine.inbox, self._life.seen
        known = inbox.known(conv)
        idle = not len(inbox) and (not seen or seen[-1].done_s is not None)
        return idle and known is not None and (known.received or 0) >= head

    def _end(self, loop: SimLoop, restart_in_s: float, *, politely: bool) -> None:
        if self.loop is not loop:
            return
        society = self._society
        self._trace.note(society.timeline.now_s, f"{loop.name} ends")
        self.loop = self._robot = None
        self._dead.append(loop)
        loop.die()
        society.network.drop_process(loop, politely=politely)
        society.timeline.after(restart_in_s, self.start)

    async def _live(self, loop: SimLoop, life: Life, leaving: asyncio.Event) -> None:
        robot = self._robot = self._make_robot()
        json = self.plan.codec == "json"
        Watch(self._trace, loop.name, self.plan.robot, json=json).tap(robot._link.machine)
        application = Application(
            self._society, self.plan, life=life, pace=self.pace, dice=self._dice
        )
        try:
            async with robot, asyncio.TaskGroup() as tasks:
                self._trace.note(loop.time(), f"{loop.name} is online")
                work = tasks.create_task(application.run(robot))
                await leaving.wait()
                work.cancel()
        except* RobotError as group:
            self._trace.problem("a robot gave up", f"{loop.name}: {group.exceptions!r}")
        except* Exception as group:  # noqa: BLE001  whatever it is, it is a finding
            self._trace.problem("a robot broke", f"{loop.name}: {group.exceptions!r}")
        self._end(loop, 0.05, politely=True)

    def _make_robot(self) -> Robot:
        plan = self.plan
        if self._memory is not None:
            self._memory.close()  # its lock died with the process that held it
        options = Options(
            codec="json" if plan.codec == "json" else "msgpack",
            window=plan.window,
            connect_timeout_s=1e6,
            open_timeout_s=2.0,
            request_timeout_s=4.0,
            ping_interval_s=1.5,
            backoff_cap_s=1.0,
        )
        return Robot(
            URL,
            name=plan.robot,
            device=plan.device,
            memory=self._memory,
            options=options,
            **self._credentials,
        )


def _credentials(plan: ClientPlan) -> dict[str, Any]:
    name, now_ms = plan.robot, WALL_START_MS
    if not plan.has_key:
        claims = bearer(name, token_id="0" * 20, now_ms=now_ms, ttl_ms=_YEARS_MS)
        return {"bearer": AUTHORITY.mint(claims)}
    secret = hashlib.sha256(name.encode()).digest()
    claims = enrolment(name, token_id=f"{name:0<20}", now_ms=now_ms, ttl_ms=_YEARS_MS)
    key = RobotKey(Ed25519PrivateKey.from_private_bytes(secret))
    return {"key": key, "token": AUTHORITY.mint(claims)}
