"""The embedded engine of the data tier: one SQLite file, one writer thread, two readers.

`SqliteStore` brings calls to the threads and their answers back to the event loop; what is done there stands
in `writer`, `append` and `reader`. It knows the file's path, and that a failed store
answers nothing any more. Built by the composition root, and by tests.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

import apsw

from imserver.core.acts import Act
from imserver.core.errors import StoreUnavailable
from imserver.core.key_ring import KeyRing
from imserver.core.model import (
    Append,
    ConversationRecord,
    Cursor,
    Enrolment,
    GroupSummary,
    Membership,
    Outcome,
    RobotRecord,
)
from imserver.data.sealing import EventSeal
from imserver.data.sqlite.administration import SqliteAdministration, SqliteBoots
from imserver.data.sqlite.file import SCHEMA_VERSION, Durability, StoreLock
from imserver.data.sqlite.files import SqliteFiles
from imserver.data.sqlite.log_reads import LogReads
from imserver.data.sqlite.reader import Reader
from imserver.data.sqlite.sealing import StoreSealing
from imserver.data.sqlite.threads import Threads
from imserver.data.sqlite.writer import StoreHealth, Writer, probe
from imserver.data.store import Administration, Boots
from imserver.protocol.names import ConversationName, DeviceName, RobotName

P = ParamSpec("P")
R = TypeVar("R")

_READERS: Final = 2
_log: Final = logging.getLogger(__name__)


class SqliteStore(LogReads):
    """A `Store` in one SQLite file. Made by `open`.

    Attributes:
        health: whether writing has failed for good.
        files: the catalogue of files, which is part of the store.
        sealing: how its bodies are sealed; `StoreSealing.run` brings all of them under the current key.
    """

    def __init__(
        self, path: Path, lock: StoreLock, durability: Durability, ring: KeyRing | None
    ) -> None:
        seal = None if ring is None else EventSeal(ring)
        self._lock = lock
        self.health = StoreHealth()
        self._closed = False
        make_writer = partial(Writer, path, durability, self.health, seal)
        self._writer = Threads("store-writer", make_writer)
        self._readers = Threads("store-reader", partial(Reader, path, seal), count=_READERS)
        self.sealing = StoreSealing(seal, self._write)
        self.files = SqliteFiles(self._read, self._transact)
        self.administration: Administration = SqliteAdministration(self._read, self._transact)
        self.boots: Boots = SqliteBoots(self._read, self._transact)

    @classmethod
    async def open(
        cls, path: Path, *, durability: Durability = "full", ring: KeyRing | None = None
    ) -> Self:
        """Open the store in the file ``path``, which is made if it does not exist; its folder must.

        With a ``ring``, the bodies of events are sealed; see `imserver.data.sealing`.

        Raises:
            DataDirectoryBusy: another process has it open.
            StoreCorrupt: the file is damaged or not a store.
            StoreTooNew: a newer version wrote it.
            StoreUnavailable: the file cannot be opened or written.
            KeyRingUnusable: the ring lacks a key that bodies are sealed with, or there is none.
        """
        lock = StoreLock(path)
        store = cls(path, lock, durability, ring)
        try:
            await store._writer.start()
            await store.sealing.begin()
            halted = await store._writer.call(Writer.halted)
            await store._readers.start()
        except BaseException:
            await store._writer.aclose()
            lock.release()
            raise
        _log.info(
            "store.opened",
            extra={
                "path": str(path),
                "schema": SCHEMA_VERSION,
                "durability": durability,
                "sqlite": apsw.sqlite_lib_version(),
            },
        )
        if halted:  # whatever became of the alarm of the robot that showed it
            advice = "restore a backup, or accept the loss with `imserver accept-loss`"
            _log.error("store.halted", extra={"conversations": halted, "advice": advice})
        return store

    async def append(self, events: Sequence[Append]) -> list[Outcome]:
        return await self._write(Writer.append, events)

    async def trim(self, conv: ConversationName, below: int, *, limit: int) -> int:
        return await self._write(Writer.trim, conv, below, limit=limit)

    async def register(
        self, robot: RobotRecord, *, enrolment: Enrolment, act: Act | None = None
    ) -> RobotRecord:
        return await self._write(Writer.register, robot, enrolment=enrolment, act=act)

    async def ensure_robot(self, robot: RobotRecord) -> RobotRecord:
        # Most often it is known: a read costs no turn of the writer.
        known = await self.robot(robot.name)
        if known is not None:
            return known
        return await self._write(Writer.ensure_robot, robot)

    async def robot(self, name: RobotName) -> RobotRecord | None:
        return await self._read(Reader.robot, name)

    async def known_robots(self, names: Sequence[RobotName]) -> set[RobotName]:
        return await self._read(Reader.known_robots, names)

    async def robots(self, *, after: str, limit: int) -> list[RobotRecord]:
        return await self._read(Reader.robots, after=after, limit=limit)

    async def conversation(self, conv: ConversationName) -> ConversationRecord | None:
        return await self._read(Reader.conversation, conv)

    async def memberships(self, robot: RobotName, device: DeviceName) -> list[Membership]:
        return await self._read(Reader.memberships, robot, device)

    async def groups(
        self, *, member: RobotName | None, after: str, limit: int
    ) -> list[GroupSummary]:
        return await self._read(Reader.groups, member=member, after=after, limit=limit)

    async def move_cursors(self, cursors: Sequence[Cursor]) -> None:
        await self._write(Writer.move_cursors, cursors)

    async def note_loss(self, conv: ConversationName, seen: int) -> bool:
        return await self._write(Writer.note_loss, conv, seen)

    async def probe(self) -> None:
        await self._transact(probe)
        await self._read(Reader.robots, after="", limit=0)

    async def aclose(self) -> None:
        self._closed = True
        await self._readers.aclose()
        await self._writer.aclose()  # last, so that no reader keeps the WAL from being emptied
        self._lock.release()

    async def _read(
        self, method: Callable[Concatenate[Reader, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        self._check()
        return await self._readers.call(method, *args, **kwargs)

    async def _write(
        self, method: Callable[Concatenate[Writer, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        self._check()
        return await self._writer.call(method, *args, **kwargs)

    async def _transact(self, work: Callable[[apsw.Connection], R]) -> R:
        return await self._write(Writer.transact, work)

    def _check(self) -> None:
        self.health.check()
        if self._closed:
            raise StoreUnavailable("the store is closed")
