"""The simulated server: a machine with a disk, and one life of the node after the other.

A life is the real node, built by the real composition function. It ends by a kill, a power cut, a drain, or
by itself when the store failed, and the next one begins a moment later with what the disk holds.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imserver import process as life
from imserver.core.clock import SystemClock
from imserver.core.errors import StoreFailed
from imserver.core.settings import Settings
from imserver.core.tasks import TaskScope
from imserver.core.tokens import Claims, TokenAuthority
from imserver.data.memory.files import in_memory
from imserver.data.memory.store import MemoryStore
from imserver.node import Collaborators, build
from imserver.route.local import LocalRouter
from tests.bare_link import BareLink
from tests.simulation.disk import Disk, SimStore
from tests.simulation.machine import SeededIds
from tests.simulation.network import Network
from tests.simulation.taps import Ledger
from tests.simulation.timeline import SimLoop, Timeline
from tests.simulation.trace import Trace

_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class QuickAuthority(TokenAuthority):
    """The deployment's authority, which remembers what it has read: signatures do not depend on the seed."""

    def __init__(self) -> None:
        super().__init__(_KEY)
        self._read: dict[str, Claims] = {}

    def read(self, token: str, *, kind: Any, now_ms: int) -> Claims:
        known = self._read.get(token)
        if known is None or known.kind != kind or known.expires_ms <= now_ms:
            known = self._read[token] = super().read(token, kind=kind, now_ms=now_ms)
        return known


AUTHORITY = QuickAuthority()


class Server:
    """The server's machine.

    Attributes:
        loop: of the present life; None while there is none.
        restart_s: least and most time from a death to the next life.
        refused: cids of sends that were refused at least once.
    """

    def __init__(
        self,
        timeline: Timeline,
        network: Network,
        disk: Disk,
        *,
        settings: Settings,
        dice: random.Random,
    ) -> None:
        self.timeline = timeline
        self.network = network
        self.disk = disk
        self.trace: Trace = network.trace
        self.restart_s = (0.05, 1.5)
        self.step_s = 0.00002
        self.loop: SimLoop | None = None
        self.refused: set[str] = set()
        self._settings = settings
        self._dice = dice
        self._lives = 0
        self._dead: list[SimLoop] = []
        self._wall_skew_ms = 0.0
        self._draining: asyncio.Event | None = None
        self._ledger: Ledger | None = None

    def start(self) -> None:
        """Begin a life, unless there is one."""
        if self.loop is not None:
            return
        self._lives += 1
        dice = random.Random(self._dice.getrandbits(64))
        name = f"server.{self._lives}"
        loop = SimLoop(self.timeline, self.trace, name, dice=dice, step_s=self.step_s)
        loop.wall_skew_ms = self._wall_skew_ms
        self.loop = loop
        self.network.attach(loop)
        self._draining = asyncio.Event()
        self.trace.note(self.timeline.now_s, f"{name} starts")
        loop.inside(loop.create_task, self._live(loop, self._draining))

    def kill(self, *, power_cut: bool) -> None:
        """End the present life at once, between two of its steps."""
        loop = self.loop
        if loop is None:
            return
        what = "power cut" if power_cut else "kill"
        self.trace.counts[f"server {what}s"] += 1
        self._end(loop, what, politely=not power_cut and self._dice.random() < 0.5)
        if power_cut:
            self.disk.cut_power()

    def stop(self, how: str) -> None:
        """End the present life at once, by hand."""
        if self.loop is not None:
            self._end(self.loop, how, politely=True)

    def kill_in(self, steps: int, *, power_cut: bool) -> None:
        """Kill the present life after ``steps`` more of its steps."""
        if self.loop is not None:
            self.loop.light_fuse(steps, lambda: self.kill(power_cut=power_cut))

    def drain(self) -> None:
        """Ask the present life to end in good order, as SIGTERM does."""
        if self.loop is not None and self._draining is not None and not self._draining.is_set():
            self.trace.counts["server drains"] += 1
            under_way = self._ledger is not None and self._ledger.has_open
            self.trace.counts["drains with sends under way"] += under_way
            self.loop.inside(self._draining.set)

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

    async def _live(self, loop: SimLoop, draining: asyncio.Event) -> None:
        how = "ends by itself"
        try:
            await self._serve(loop, draining)
            how = "is drained"
        except* StoreFailed:
            self.trace.counts["server stopped by a failed store"] += 1
            how = "stops because its store failed"
        except* Exception as group:  # noqa: BLE001  whatever it is, it is a finding
            self.trace.problem("the node broke", f"{loop.name}: {group.exceptions!r}")
        self._end(loop, how, politely=True)

    async def _serve(self, loop: SimLoop, draining: asyncio.Event) -> None:
        settings = self._settings
        async with TaskScope() as scope:

            def spawn(work: Coroutine[Any, Any, None], name: str) -> None:
                try:
                    scope.spawn(work, name=name)
                except RuntimeError:  # the scope is ending, as in the composition
                    work.close()

            store, clock = SimStore(self.disk), SystemClock()
            files, ids = in_memory(MemoryStore().files), SeededIds()
            given = Collaborators(store, files, LocalRouter(), AUTHORITY, clock, ids, spawn)
            node = build(settings, given)
            ledger = self._ledger = Ledger(self.trace, self.refused)
            ledger.tap(node.committer)
            committing = scope.spawn(node.committer.run(), name="committer")
            scope.spawn(store.watch(), name="store")
            scope.spawn(node.door.wheel.run(), name="wheel")
            scope.spawn(life._sweep(node), name="sweep")
            scope.spawn(node.retention.run(), name="retention")
            announce = life._announce(node, settings.delivery.head_interval_s)
            scope.spawn(announce, name="heads")
            self.network.listen(loop, lambda: BareLink(node.door))
            await draining.wait()
            await life._drain(node, committing, settings.server.drain_timeout_s)
            ledger.close()
            scope.cancel_all()
        await store.aclose()

    def _end(self, loop: SimLoop, how: str, *, politely: bool) -> None:
        if self.loop is not loop:
            return
        self.trace.note(self.timeline.now_s, f"{loop.name} {how} after {loop.steps} steps")
        self.loop = None
        self._dead.append(loop)
        loop.die()
        self.network.drop_process(loop, politely=politely)
        self.timeline.after(self._dice.uniform(*self.restart_s), self.start)
