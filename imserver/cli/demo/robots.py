"""The robots of the demo: a dispatcher that posts jobs, and pickers that claim and do them.

All that they agree on they read in the log; nobody asks anybody. They use the SDK as any robot would.
"""

import asyncio
import contextlib
import functools
import random
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from client_sdk import Event, Robot
from imserver.cli.demo.board import CLAIM, DONE, JOB, PROGRESS, Board, Job
from imserver.cli.demo.reception import Reception
from imserver.cli.demo.scene import Scene
from imserver.core.clock import Clock
from imserver.core.tasks import TaskScope

JOB_EVERY_S: Final = 1.0
OPEN_JOBS_MAX: Final = 3
STEP_S: Final = 0.5
STEPS: Final = (25, 50, 75)
_GOODS: Final = ("pallets", "crates", "barrels", "spare wheels", "battery packs")


class Member:
    """A robot in the group, with what it knows of the log."""

    def __init__(
        self, name: str, connect: Callable[[], Robot], scene: Scene, *, clock: Clock
    ) -> None:
        self.name = name
        self.reception = Reception()
        self._connect = connect
        self._scene = scene
        self._clock = clock
        self._board = Board()
        self._news = asyncio.Event()
        self.is_online = asyncio.Event()
        scene.online[name] = False

    @contextlib.asynccontextmanager
    async def _online(self) -> AsyncIterator[Robot]:
        async with self._connect() as robot:
            self._scene.online[self.name] = True
            self.is_online.set()
            try:
                yield robot
            finally:
                self._scene.online[self.name] = False
                self.is_online.clear()

    async def _send(
        self, robot: Robot, kind: str, body: dict[str, Any], *, ref: int | None = None
    ) -> None:
        cid = secrets.token_hex(12)
        self._scene.sending(cid, self._clock.monotonic_s())
        await robot.send(self._scene.conv, body, kind=kind, ref=ref, cid=cid)
        self._scene.acked(cid, self._clock.monotonic_s())

    async def _read(self, robot: Robot) -> None:
        async for event in robot.events():
            if event.conv == self._scene.conv:
                self.reception.take(event.seq)
                self._on_event(event)
                self._news.set()

    def _on_event(self, event: Event) -> None:
        self._board.apply(event)


class Dispatcher(Member):
    """Posts jobs as long as not too many wait, and is whose eyes the scene sees through."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], Robot],
        scene: Scene,
        *,
        clock: Clock,
        dice: random.Random,
    ) -> None:
        super().__init__(name, connect, scene, clock=clock)
        self._board = scene.board
        self._dice = dice
        self.may_post = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        async with self._online() as robot, TaskScope() as scope:
            scope.spawn(self._read(robot), name=f"{self.name}: read")
            scope.spawn(self._post(robot), name=f"{self.name}: post")

    async def _post(self, robot: Robot) -> None:
        await self.may_post.wait()  # pickers that are enrolled later would not be shown the job
        while True:
            if len(list(self._board.open_jobs())) < OPEN_JOBS_MAX:
                await self._send(robot, JOB, {"title": self._job()})
            await asyncio.sleep(JOB_EVERY_S * self._dice.uniform(0.5, 1.5))

    def _job(self) -> str:
        shelf = f"{self._dice.choice('ABCD')}{self._dice.randint(1, 40)}"
        return f"fetch {self._dice.randint(2, 9)} {self._dice.choice(_GOODS)} from shelf {shelf}"

    def _on_event(self, event: Event) -> None:
        self._scene.arrived(event, self._clock.monotonic_s())


class Picker(Member):
    """Claims what is open, does what it won, and can be sent away for a while."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], Robot],
        scene: Scene,
        *,
        clock: Clock,
        dice: random.Random,
    ) -> None:
        super().__init__(name, connect, scene, clock=clock)
        self._dice = dice
        self._on_duty = asyncio.Event()
        self._on_duty.set()
        self._off_duty = asyncio.Event()
        self.is_level = asyncio.Event()
        self.is_level.set()

    async def run(self) -> None:
        """Work until cancelled, with the breaks that `leave` and `come_back` ask for."""
        while True:
            await self._on_duty.wait()
            async with self._online() as robot:
                if self.reception.last is not None:
                    await self._look_what_was_missed(robot)
                await self._shift(robot)

    def leave(self) -> None:
        """Go offline soon."""
        self._on_duty.clear()
        self.is_level.clear()
        self._off_duty.set()

    def come_back(self) -> None:
        """Go online again."""
        self._off_duty.clear()
        self._on_duty.set()

    async def _shift(self, robot: Robot) -> None:
        async with TaskScope() as scope:
            scope.spawn(self._read(robot), name=f"{self.name}: read")
            scope.spawn(self._work(robot), name=f"{self.name}: work")
            await self._off_duty.wait()
            scope.cancel_all()

    async def _look_what_was_missed(self, robot: Robot) -> None:
        heads = {row.conv: row.seq for row in await robot.groups()}
        self.reception.returned(heads.get(self._scene.conv, 0))
        self._tell_if_level()

    async def _work(self, robot: Robot) -> None:
        await self.is_level.wait()  # who has missed something looks before it claims
        while True:
            job = self._board.unfinished_of(self.name)
            if job is not None:
                await self._do(robot, job)
                continue
            await self._until(self._board.has_open_jobs)
            job = next(self._board.open_jobs())
            await self._send(robot, CLAIM, {"by": self.name}, ref=job.seq)
            await self._until(functools.partial(_is_claimed, job))

    async def _do(self, robot: Robot, job: Job) -> None:
        for percent in STEPS:
            if percent > job.percent:
                await asyncio.sleep(STEP_S * self._dice.uniform(0.5, 1.5))
                await self._send(robot, PROGRESS, {"percent": percent}, ref=job.seq)
        await asyncio.sleep(STEP_S * self._dice.uniform(0.5, 1.5))
        await self._send(robot, DONE, {"result": "delivered"}, ref=job.seq)
        await self._until(functools.partial(_is_done, job))

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait until the log, as far as it has been read here, fulfils the condition."""
        while not condition():
            self._news.clear()
            await self._news.wait()

    def _on_event(self, event: Event) -> None:
        super()._on_event(event)
        self._tell_if_level()

    def _tell_if_level(self) -> None:
        catch_up = self.reception.caught_up()
        if catch_up is not None:
            self._scene.note(f"{self.name} is back: it {catch_up}")
            self.is_level.set()


def _is_claimed(job: Job) -> bool:
    return job.worker is not None


def _is_done(job: Job) -> bool:
    return job.done
