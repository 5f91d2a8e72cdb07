"""The simulated robots: devices, and their processes with the real SDK and an application.

A device has one process after the other, and now and then two at a time: somebody started it twice, and the
newer session takes the place of the older one.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Coroutine
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk import MemoryFileError, Refused, Robot, RobotError, State, StayAway
from client_sdk.keys import RobotKey
from client_sdk.options import Options
from imserver.core.tokens import bearer, enrolment
from imserver.protocol.errors import CloseCode, ErrorCode
from tests.simulation.application import Application
from tests.simulation.history import Life
from tests.simulation.memory_file import MemoryFile, MemoryHandle
from tests.simulation.plan import ClientPlan
from tests.simulation.server import AUTHORITY
from tests.simulation.society import BASE, Pace, Society
from tests.simulation.timeline import WALL_START_MS, SimLoop
from tests.simulation.truth import Place
from tests.simulation.watch import Watch

URL = "ws://server:7400"
BACK_S = 0.05
_YEARS_MS = 10 * 365 * 86_400_000

Errand = Callable[[Application, Robot], Coroutine[Any, Any, None]]


class Process:
    """One life of a device.

    Attributes:
        loop: its event loop.
        life: what it was given.
        robot: the SDK's; None at the very beginning.
        memory: its way to the device's memory, if it has one.
        had_rival: for some time another process of the device lived beside it.
    """

    def __init__(self, loop: SimLoop, life: Life, memory: MemoryHandle | None) -> None:
        self.loop = loop
        self.life = life
        self.robot: Robot | None = None
        self.memory = memory
        self.had_rival = False
        self.leaving = asyncio.Event()
        self.application: Application | None = None

    @property
    def is_online(self) -> bool:
        """Whether it has a session."""
        return self.robot is not None and self.robot.state is State.ONLINE

    @property
    def is_kept_out(self) -> bool:
        """Whether it was told that another one has the device, and asks again now and then."""
        told = self.robot._link.machine.last_problem if self.robot is not None else ""
        return not self.is_online and str(int(CloseCode.CONTESTED)) in told

    def ask(self, errand: Errand) -> bool:
        """Have the application do something, if it is there; tell whether it is."""
        application = self.application
        if application is None or application.robot is None or not self.is_online:
            return False
        self.loop.inside(application.begin, errand(application, application.robot))
        return True

    def is_level(self, conv: str, head: Place) -> bool:
        """Tell whether the SDK has everything up to ``head``, and the application has processed it."""
        if not self.is_online or self.robot is None:
            return False
        inbox, seen = self.robot._link.machine.inbox, self.life.seen
        known = inbox.known(conv)
        if len(inbox) or (seen and seen[-1].done_s is None) or known is None:
            return False
        if known.epoch == head.epoch:
            return known.received == head.seq
        # It hears of the new epoch with the next event, or need not hear of it if it was given nothing.
        return (known.place or head.seq) >= head.seq


class Client:
    """A robot's device.

    Attributes:
        processes: those that live, the older first.
        pace: what befalls them.
    """

    def __init__(self, society: Society, plan: ClientPlan, *, seed: int) -> None:
        self.plan = plan
        self.processes: list[Process] = []
        self.pace = Pace()
        self._society = society
        self._trace = society.trace
        self._dice = random.Random(f"client {seed} {plan.number}")
        self._lives = 0
        self._dead: list[SimLoop] = []
        self._wall_skew_ms = 0.0
        self._file = MemoryFile() if plan.remembers else None
        self._credentials = _credentials(plan)

    @property
    def name(self) -> str:
        """Which robot and device."""
        return f"{self.plan.robot}/{self.plan.device}"

    @property
    def claimants(self) -> list[Process]:
        """The processes that have the device's session, or are on their way to it."""
        return [process for process in self.processes if not process.is_kept_out]

    def start(self) -> None:
        """Begin a life, unless there is one."""
        if not self.processes:
            self._trace.counts["devices that came later"] += (
                self.plan.from_s > 0 and not self._lives
            )
            self._begin(with_memory=True)

    def take_over(self, *, with_memory: bool) -> None:
        """Start the device once more beside the process that lives."""
        if len(self.processes) == 1:
            self._trace.counts["devices started twice"] += 1
            self._begin(with_memory=with_memory)

    def kill(self, restart_in_s: float, *, memory_too: bool = False) -> None:
        """End every life at once, and begin another one after a while."""
        for process in list(self.processes):
            self._trace.counts["client kills"] += 1
            what = "without a memory" if process.memory is None else "with a memory"
            self._trace.counts[f"client kills {what}"] += 1
            self._end(process, restart_in_s, politely=self._dice.random() < 0.5)
        if memory_too and self._file is not None and not self.processes:
            self._trace.counts["memories lost"] += 1
            self._file = MemoryFile()

    def leave(self) -> None:
        """Ask the present life to close its robot and end; another one begins soon."""
        if self.processes:
            self._trace.counts["clients left and came back"] += 1
            process = self.processes[-1]
            process.loop.inside(process.leaving.set)

    def pause(self, seconds: float) -> None:
        """Let the device stand still."""
        if self.processes:
            self._trace.counts["client pauses"] += 1
            self.pace.paused_s += seconds
        for process in self.processes:
            process.loop.pause(seconds)

    def jump_clock(self, milliseconds: float) -> None:
        """Set the calendar clock of the device."""
        self._wall_skew_ms += milliseconds
        for process in self.processes:
            process.loop.wall_skew_ms = self._wall_skew_ms

    def ask(self, errand: Errand) -> bool:
        """Have the newest life do something; tell whether it can."""
        return bool(self.processes) and self.processes[-1].ask(errand)

    def bury(self) -> None:
        """Take apart all lives."""
        self._dead += [process.loop for process in self.processes]
        for loop in self._dead:
            loop.bury()
        self._dead.clear()

    def _begin(self, *, with_memory: bool) -> None:
        self._lives += 1
        society, plan = self._society, self.plan
        dice = random.Random(self._dice.getrandbits(64))
        name = f"{self.name}.{self._lives}"
        loop = SimLoop(society.timeline, self._trace, name, dice=dice, step_s=0.000_01)
        loop.wall_skew_ms = self._wall_skew_ms
        society.network.attach(loop)
        life = Life(name, plan.robot, plan.device)
        society.history.lives.append(life)
        memory = MemoryHandle(self._file) if with_memory and self._file is not None else None
        process = Process(loop, life, memory)
        self.processes.append(process)
        for rival in self.processes if len(self.processes) > 1 else ():
            rival.had_rival = True
            society.doubled.add(plan.robot)
        loop.inside(loop.create_task, self._live(process))

    def _end(self, process: Process, restart_in_s: float, *, politely: bool) -> None:
        if process not in self.processes:
            return
        society, loop = self._society, process.loop
        self._trace.note(society.timeline.now_s, f"{loop.name} ends")
        self.processes.remove(process)
        self._dead.append(loop)
        loop.die()
        society.network.drop_process(loop, politely=politely)
        if process.memory is not None:
            process.memory.close()  # its lock died with the process that held it
        society.timeline.after(restart_in_s, self.start)

    async def _live(self, process: Process) -> None:
        society, loop = self._society, process.loop
        robot = process.robot = self._make_robot(process)
        Watch(society, process.life, codec=self.plan.codec).tap(robot._link.machine)
        application = process.application = Application(
            society, self.plan, life=process.life, pace=self.pace, dice=self._dice
        )
        losses = society.losses
        try:
            async with robot, asyncio.TaskGroup() as tasks:
                self._trace.note(loop.time(), f"{loop.name} is online")
                work = tasks.create_task(application.run(robot))
                await process.leaving.wait()
                work.cancel()
        except* RobotError as group:
            for error in _leaves(group):
                self._judge_end(process, error, is_loss=society.losses > losses)
        except* Exception as group:  # noqa: BLE001  whatever it is, it is a finding
            self._trace.problem("a robot broke", f"{loop.name}: {group.exceptions!r}")
        self._end(process, BACK_S, politely=True)

    def _judge_end(self, process: Process, error: Exception, *, is_loss: bool) -> None:
        """Judge why a robot wants no more."""
        match error:
            case StayAway() if process.had_rival:
                self._trace.counts["sessions replaced by newer ones"] += 1
            case MemoryFileError() if process.had_rival:
                self._trace.counts["second processes kept out by the memory"] += 1
            case Refused(code=ErrorCode.UNAUTHENTICATED) if is_loss and self.plan.has_key:
                self._trace.counts["keys that were lost and registered again"] += 1
            case _:
                self._trace.problem("a robot gave up", f"{process.loop.name}: {error!r}")

    def _make_robot(self, process: Process) -> Robot:
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
        return Robot(
            URL,
            name=plan.robot,
            device=plan.device,
            memory=process.memory,
            options=options,
            **self._credentials,
        )


def send_away(
    society: Society, victims: list[Client], leader: Client, *, back_after_s: float | None
) -> None:
    """Have ``leader`` remove the robot of ``victims``, which is away, and perhaps add it again."""
    robot = victims[0].plan.robot

    def are_away() -> bool:
        return not any(victim.processes for victim in victims)

    async def errand(application: Application, leading: Robot) -> None:
        asking = application.asking
        if are_away():
            removals = "removals of robots that are away"
            await asking.do(removals, lambda: leading.remove_members(BASE, [robot]))
        if back_after_s is not None:
            await asyncio.sleep(back_after_s)
            additions = f"additions of robots that {'are' if are_away() else 'were'} away"
            await asking.do(additions, lambda: leading.add_members(BASE, [robot]))

    if not leader.ask(errand):
        society.count("errands that nobody could do")


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    leaves: list[Exception] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def _credentials(plan: ClientPlan) -> dict[str, Any]:
    name, now_ms = plan.robot, WALL_START_MS
    if not plan.has_key:
        claims = bearer(name, token_id="0" * 20, now_ms=now_ms, ttl_ms=_YEARS_MS)
        return {"bearer": AUTHORITY.mint(claims)}
    secret = hashlib.sha256(name.encode()).digest()
    claims = enrolment(name, token_id=f"{name:0<20}", now_ms=now_ms, ttl_ms=_YEARS_MS)
    key = RobotKey(Ed25519PrivateKey.from_private_bytes(secret))
    return {"key": key, "token": AUTHORITY.mint(claims)}
