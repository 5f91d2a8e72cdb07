"""A node as `imserver.node.build` builds it, around a gated store in memory and a hand-turned clock."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from imserver.core.scopes import ADMIN, WHOLE
from imserver.core.settings import Settings
from imserver.core.tokens import TokenAuthority, bearer
from imserver.data.memory.files import in_memory
from imserver.node import Collaborators, Node, build
from imserver.protocol.client_frames import Hello
from imserver.route.local import LocalRouter
from tests.unit.logic.gated_store import GatedStore
from tests.unit.logic.hand_clock import CountedIds, HandClock
from tests.unit.logic.logic_tier import SIGNING_KEY


class FragileClock(HandClock):
    """A hand-turned clock that can break, as a fault of the server's own."""

    is_broken = False

    def now_ms(self) -> int:
        if self.is_broken:
            raise ZeroDivisionError("the clock is broken")
        return super().now_ms()


class NodeInMemory:
    """The parts of a node that tests of the access tier turn."""

    def __init__(self, settings: Settings) -> None:
        self.store = GatedStore()
        self.clock = FragileClock()
        self.authority = TokenAuthority(SIGNING_KEY)
        self.ids = CountedIds()
        self.tasks: set[asyncio.Task[None]] = set()
        given = Collaborators(
            store=self.store,
            files=in_memory(self.store.files),
            router=LocalRouter(),
            authority=self.authority,
            clock=self.clock,
            ids=self.ids,
            spawn=self._spawn,
        )
        self.node: Node = build(settings, given)
        self.door = self.node.door
        self.context = self.door.context

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.add(asyncio.get_running_loop().create_task(work, name=name))

    def bearer_token(self, robot: str, *, admin: bool = False) -> str:
        """Return a bearer token that is good for an hour."""
        claims = bearer(
            robot,
            token_id=self.ids.token(),
            now_ms=self.clock.ms,
            ttl_ms=3_600_000,
            scopes=[ADMIN if admin else WHOLE],
        )
        return self.authority.mint(claims)

    def hello(self, robot: str = "r1", **fields: Any) -> Hello:
        """Return a hello that opens a session at once."""
        return Hello(robot, token=self.bearer_token(robot), **fields)

    def counted(self, name: str) -> float | None:
        """Return a metric's value."""
        return self.node.registry.get_sample_value(name)

    def turn_wheel(self, ticks: int = 1) -> None:
        """Let so many seconds pass for the deadlines."""
        for _ in range(ticks):
            for _ in self.door.wheel._turn():
                pass

    async def settle(self) -> None:
        """Let everything happen that waits for nothing but its turn."""
        for _ in range(15):
            await asyncio.sleep(0)


@asynccontextmanager
async def running(settings: Settings | None = None) -> AsyncIterator[NodeInMemory]:
    """Run a node; a task of its that failed fails the test."""
    node = NodeInMemory(settings if settings is not None else Settings())
    committing = asyncio.get_running_loop().create_task(node.node.committer.run())
    try:
        yield node
    finally:
        node.store.open_all()
        await node.settle()
        committing.cancel()
        for task in node.tasks:
            task.cancel()
        results = await asyncio.gather(*node.tasks, return_exceptions=True)
        await asyncio.gather(committing, return_exceptions=True)
        for session in node.node.sessions.all():
            node.node.sessions.close(session, "lost")
        for timer in (node.node.committer._flush_timer, node.node.sessions._presence._timer):  # type: ignore[attr-defined]
            if timer is not None:
                timer.cancel()
        failed = [result for result in results if isinstance(result, Exception)]
        assert not failed, failed
