"""The store in memory, behind gates: what it answers can be held back, and its writes can fail.

A held call has been carried out already; only its answer waits. That is what a thread or a network between
the store and the loop does: others may see what was written before its writer hears of it.
"""

import asyncio
from collections.abc import Sequence

from imserver.core.errors import StoreCorrupt, StoreFailed, StoreUnavailable
from imserver.core.model import (
    Append,
    ConversationRecord,
    Cursor,
    Membership,
    Outcome,
    RobotRecord,
)
from imserver.data.memory.store import MemoryStore
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName, DeviceName, RobotName


class Gate:
    """Holds calls back, if shut, until the test lets them through, in any order."""

    def __init__(self) -> None:
        self.shut = False
        self._waiting: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    async def passed(self) -> None:
        """Return at once, or when the test opens."""
        if self.shut:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def let_one(self, index: int = 0) -> None:
        """Let one waiting call through."""
        future = self._waiting.pop(index)
        if not future.done():
            future.set_result(None)

    def open(self) -> None:
        """Let everybody through, now and from now on."""
        self.shut = False
        while self._waiting:
            self.let_one()


class GatedStore(MemoryStore):
    """A `Store`.

    Attributes:
        commits, pages, memberships_read, conversations_read, names_read: gates before the answers.
        pages_before, cursors_before: gates before a read, which shows what was written until they open.
        fails, page_fails, reads_fail: what the next writes, pages, and reads of a record raise.
        calls: the events of every append that was stored.
        moves: the cursors of every move that was stored.
        let_go: the events that were trimmed, in order, by conversation.
    """

    def __init__(self) -> None:
        super().__init__(epoch="epoch-1")
        self.commits = Gate()
        self.pages = Gate()
        self.pages_before = Gate()
        self.cursors_before = Gate()
        self.memberships_read = Gate()
        self.conversations_read = Gate()
        self.names_read = Gate()
        self.fails: list[StoreUnavailable | StoreFailed] = []
        self.page_fails: list[StoreUnavailable | StoreFailed | StoreCorrupt] = []
        self.reads_fail: list[StoreUnavailable | StoreFailed] = []
        self.attempts = 0
        self.pages_read = 0
        self.let_go: dict[str, list[Event]] = {}
        self.calls: list[list[Append]] = []
        self.moves: list[list[Cursor]] = []

    def open_all(self) -> None:
        """Open every gate."""
        for gate in (self.commits, self.pages, self.pages_before, self.memberships_read):
            gate.open()
        for gate in (self.conversations_read, self.names_read, self.cursors_before):
            gate.open()

    async def append(self, events: Sequence[Append]) -> list[Outcome]:
        await self._begin()
        self.calls.append(list(events))
        outcomes = await super().append(events)
        await self.commits.passed()
        return outcomes

    async def move_cursors(self, cursors: Sequence[Cursor]) -> None:
        await self._begin()
        self.moves.append(list(cursors))
        await super().move_cursors(cursors)
        await self.commits.passed()

    async def _begin(self) -> None:
        self.attempts += 1
        if self.fails:
            await self.commits.passed()
            raise self.fails.pop(0)

    async def read_after(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        self.pages_read += 1
        if self.page_fails:
            raise self.page_fails.pop(0)
        await self.pages_before.passed()
        events = await super().read_after(conv, after, limit=limit, bytes_max=bytes_max)
        await self.pages.passed()
        return events

    async def read_before(
        self, conv: ConversationName, before: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        await self.pages_before.passed()
        return await super().read_before(conv, before, limit=limit, bytes_max=bytes_max)

    async def trim(self, conv: ConversationName, below: int, *, limit: int) -> int:
        log = self._logs.get(conv)
        before = list(log.events) if log is not None else []
        floor = await super().trim(conv, below, limit=limit)
        gone = [event for event in before if event.seq < floor]
        self.let_go.setdefault(conv, []).extend(gone)
        return floor

    async def memberships(self, robot: RobotName, device: DeviceName) -> list[Membership]:
        found = await super().memberships(robot, device)
        await self.memberships_read.passed()
        return found

    async def acked(self, conv: ConversationName) -> dict[RobotName, int]:
        await self.cursors_before.passed()
        return await super().acked(conv)

    async def conversation(self, conv: ConversationName) -> ConversationRecord | None:
        self._fail_a_read()
        found = await super().conversation(conv)
        await self.conversations_read.passed()
        return found

    async def robot(self, name: RobotName) -> RobotRecord | None:
        self._fail_a_read()
        return await super().robot(name)

    async def known_robots(self, names: Sequence[RobotName]) -> set[RobotName]:
        found = await super().known_robots(names)
        await self.names_read.passed()
        return found

    def _fail_a_read(self) -> None:
        if self.reads_fail:
            raise self.reads_fail.pop(0)

    async def enlist(self, *names: str) -> None:
        """Register robots without keys."""
        for name in names:
            await self.ensure_robot(RobotRecord(RobotName(name), None, 0))
