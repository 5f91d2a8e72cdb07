"""The fleet: enrols its robots with a server, runs them, and sends one after the other away for a while."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from client_sdk import Options, Robot
from imserver.cli.demo.robots import Dispatcher, Member, Picker
from imserver.cli.demo.scene import Scene
from imserver.cli.mint import enrolment_token
from imserver.core.clock import Clock
from imserver.core.tasks import TaskScope

CONV: Final = "g/dock"
DISPATCHER: Final = "dispatcher"
KEYS_NAME: Final = "demo-keys"
_TOKEN_TTL_MS: Final = 3_600_000
_OPTIONS: Final = Options(connect_timeout_s=10.0)


class Outings(Struct, frozen=True):
    """When a robot goes offline: after ``first_s``, for ``away_s``; the next one ``every_s`` later."""

    first_s: float = 6.0
    away_s: float = 5.0
    every_s: float = 25.0

    @classmethod
    def within(cls, seconds: float | None) -> "Outings":
        """Return a plan whose first outing fits into a demo of ``seconds``."""
        if seconds is None:
            return cls()
        return cls(first_s=min(6.0, seconds * 0.25), away_s=min(5.0, seconds * 0.25))


class Fleet:
    """A dispatcher and its pickers."""

    def __init__(
        self, url: str, *, data: Path, pickers: int, scene: Scene, clock: Clock, dice: random.Random
    ) -> None:
        """Prepare the robots; ``data`` is the server's directory, which also keeps their keys.

        Raises:
            DataDirectoryUnusable: ``data`` cannot be used.
        """
        self._url = url
        self._data = data
        self._scene = scene
        keys = data / KEYS_NAME
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._dispatcher = Dispatcher(
            DISPATCHER, self._connector(DISPATCHER), scene, clock=clock, dice=dice
        )
        self._pickers = [
            Picker(name, self._connector(name), scene, clock=clock, dice=dice)
            for name in (f"picker-{number}" for number in range(1, pickers + 1))
        ]

    @property
    def members(self) -> list[Member]:
        """All robots."""
        return [self._dispatcher, *self._pickers]

    async def run(self, outings: Outings) -> None:
        """Work until cancelled."""
        # The first to be enrolled creates the group and owns it, so it goes before the others.
        async with TaskScope() as scope:
            scope.spawn(self._dispatcher.run(), name=DISPATCHER)
            await self._dispatcher.is_online.wait()
            for picker in self._pickers:
                scope.spawn(picker.run(), name=picker.name)
            for picker in self._pickers:
                await picker.is_online.wait()
            self._dispatcher.may_post.set()
            scope.spawn(self._outings(outings), name="outings")

    @property
    def has_received(self) -> bool:
        """Whether any robot has received anything."""
        return any(member.reception.received for member in self.members)

    def verdict(self) -> str:
        """Return what the robots received, in a sentence."""
        received = sum(member.reception.received for member in self.members)
        gaps = sum(member.reception.gaps for member in self.members)
        repeats = sum(member.reception.repeats for member in self.members)
        if gaps or repeats:
            return f"{received} events received: NOT AS PROMISED, {gaps} gaps and {repeats} repeats"
        return f"{len(self.members)} robots received {received} events in one order: no gap, none twice"

    async def _outings(self, plan: Outings) -> None:
        await asyncio.sleep(plan.first_s)
        turn = 0
        while True:
            picker = self._pickers[turn % len(self._pickers)]
            turn += 1
            self._scene.note(f"{picker.name} goes offline after seq {picker.reception.last or 0}")
            picker.leave()
            await asyncio.sleep(plan.away_s)
            picker.come_back()
            await asyncio.sleep(plan.every_s)

    def _connector(self, name: str) -> Callable[[], Robot]:
        # Enrolling again is harmless: a robot that is registered proves its key.
        _, token = enrolment_token(self._data, name, groups=[CONV], ttl_ms=_TOKEN_TTL_MS)
        key = self._data / KEYS_NAME / f"{name}.pem"

        def connect() -> Robot:
            return Robot(self._url, name=name, key=key, token=token, options=_OPTIONS)

        return connect
