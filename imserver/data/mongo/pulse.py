"""Notices that a database was set back, by a number that this node has seen higher.

A set that acks by majority and journal does not lose what it acked. An operator who restores a backup sets
it back all the same, and clients then have seen events that are gone. So the database counts a pulse: at each
start of a node, about every minute in which it appends, and at its end. The node keeps the highest one that
it has seen in a file of its own; a database that is behind it has lost events, or may have. A node that finds
that out lets the pulse stand still and its file be, so that it is found out again at the next start, and by
``accept-loss``.
"""

import asyncio
import contextlib
import logging
import secrets
from pathlib import Path
from typing import Any, Final, NoReturn

from pymongo import ReturnDocument

from imserver.core.errors import StoreUnavailable
from imserver.core.tasks import heed_cancellation
from imserver.data.mongo.database import Database, Session

_BEAT_S: Final = 60.0
_END_S: Final = 2.0
_DIGITS_MAX: Final = 20
_log: Final = logging.getLogger(__name__)


class Pulse:
    """The database's pulse, as this node has felt it.

    Attributes:
        is_behind: whether the database was behind this node when it was opened.
    """

    def __init__(self, database: Database, mark: Path | None) -> None:
        self._database = database
        self._mark = mark
        self._has_appended = asyncio.Event()
        self.is_behind = False

    async def begin(self, session: Session) -> None:
        """Compare the database with what this node remembers."""
        remembered = 0 if self._mark is None else remembered_in(self._mark)
        # By a write, since a primary that was deposed unawares may answer a read with what was before.
        self.is_behind = await self._count("starts", session) < remembered
        if not self.is_behind:
            await self._beat(session)

    def on_appended(self) -> None:
        """Take in that this node has appended something."""
        self._has_appended.set()

    async def run(self) -> NoReturn:
        """Count on every minute in which something was appended, until cancelled."""
        while True:
            heed_cancellation()
            await asyncio.sleep(_BEAT_S)
            await self._has_appended.wait()
            self._has_appended.clear()
            if self.is_behind:
                continue
            try:
                async with self._database.session() as session:
                    await self._beat(session)
            except StoreUnavailable as exc:
                _log.info("store.pulse_missed", extra={"reason": str(exc)})

    async def end(self) -> None:
        """Count on once more: a backup from before the last minute's events is then behind, too."""
        if self.is_behind:
            return
        with contextlib.suppress(StoreUnavailable):
            async with self._database.session(_END_S) as session:
                await self._beat(session)

    async def _beat(self, session: Session) -> None:
        """Count on, and remember it."""
        self._remember(await self._count("n", session))

    async def _count(self, what: str, session: Session) -> int:
        """Count one of something, and return the pulse as it is then."""
        found: Any = await self._database.meta.find_one_and_update(
            {"_id": "pulse"},
            {"$inc": {what: 1}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        return int(found.get("n", 0))

    def _remember(self, count: int) -> None:
        if self._mark is None:
            return
        # Nodes may share the directory, and in containers all have the same number.
        draft = self._mark.with_name(f"{self._mark.name}.{secrets.token_hex(8)}")
        with contextlib.suppress(OSError):  # it is a witness more, not a condition of serving
            draft.write_text(str(count), encoding="ascii")
            draft.replace(self._mark)


def remembered_in(mark: Path) -> int:
    """Return the highest pulse that a node has noted in its file; 0 if it has noted none."""
    with contextlib.suppress(OSError, ValueError):
        return int(mark.read_text(encoding="ascii")[:_DIGITS_MAX])
    return 0
