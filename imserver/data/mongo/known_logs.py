"""What a node remembers of the logs that it appends to, so that it need not ask before each batch.

It may be behind: then the unique index refuses what was planned by it. What is said by others of how far a
log goes is not believed, since a place that is too high would leave a gap; it makes the log be read again.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from imserver.data.mongo.database import Database, Session
from imserver.data.mongo.plan import Insert, Log
from imserver.data.mongo.records import Records
from imserver.protocol.names import ConversationName

_LOGS_MAX: Final = 100_000


class _Known(NamedTuple):
    """A log that is remembered, and the fence as it was before the log was read."""

    log: Log
    fence: int


class KnownLogs:
    """Logs by conversation.

    Attributes:
        fence: the number that whoever lets events go raises first, as last read; negative if it was not.
        on_fence: called when it has risen, before anything is acked that was inserted meanwhile.
    """

    def __init__(self, database: Database, records: Records) -> None:
        self._database = database
        self._records = records
        self._logs: dict[ConversationName, _Known] = {}
        self._heard: dict[ConversationName, int] = {}
        self.fence = -1
        self.on_fence: Callable[[Session], Awaitable[None]] = _trust

    def get(self, conv: ConversationName) -> Log | None:
        """Return a log as it is remembered, or None."""
        known = self._logs.get(conv)
        return None if known is None else known.log

    def drop(self, conv: ConversationName) -> None:
        """Have a log read again."""
        self._logs.pop(conv, None)
        self._heard.pop(conv, None)

    def forget(self) -> None:
        """Have all of it read again."""
        self._logs.clear()
        self._heard.clear()
        self.fence = -1

    def note_head(self, conv: ConversationName, seq: int) -> None:
        """Take in that a log is said to go up to ``seq``: if it is not known to, it is read before the next
        append."""
        known = self._logs.get(conv)
        if known is not None and known.log.head < seq:
            self._heard[conv] = seq

    async def read(
        self, convs: Iterable[ConversationName], session: Session
    ) -> dict[ConversationName, Log | None]:
        """Return logs as they are remembered, or else as they are."""
        if len(self._logs) > _LOGS_MAX:
            self.forget()
        if self.fence < 0:
            self.fence = await self._database.fence(session)
        logs: dict[ConversationName, Log | None] = {}
        unknown = []
        for conv in convs:
            known, heard = self._logs.get(conv), self._heard.pop(conv, 0)
            if known is None or known.log.head < heard:
                unknown.append(conv)
            else:
                logs[conv] = known.log
        if unknown:
            for conv, log in (await self._records.logs(unknown, session)).items():
                logs[conv] = log
                if log is not None:
                    self._logs[conv] = _Known(log, self.fence)
        return logs

    def remember(self, stored: list[Insert], fence: int) -> None:
        """Note the new heads of logs; ``fence`` is as it was before they were stored."""
        changes = {i.asked.conv: i for i in stored if "change" in i.document}
        for conv, last in {insert.asked.conv: insert for insert in stored}.items():
            known = self._logs.get(conv)
            log = known.log if known else Log(last.outcome.epoch, 0, 1, None)
            change = changes.get(conv)
            changed = log.changed if change is None else change.outcome.event.seq
            log = log._replace(head=last.outcome.event.seq, changed=changed)
            self._logs[conv] = _Known(log, known.fence if known else fence)

    async def passed_by_floor(self, stored: list[Insert], session: Session) -> list[Insert]:
        """Return those of the inserts that landed below the floor of their log."""
        if not stored:
            return []
        fence = await self._database.fence(session)
        if fence != self.fence:
            await self.on_fence(session)
        self.fence = fence
        convs = {insert.asked.conv for insert in stored}
        doubtful = [conv for conv in convs if self._logs[conv].fence != fence]
        if not doubtful:
            return []
        found = self._database.conversations.find(
            {"_id": {"$in": doubtful}}, {"floor": 1, "seen": 1}, session=session
        )
        floors: dict[str, int] = {}
        async for record in found:
            conv, floors[record["_id"]] = record["_id"], record["floor"]
            if record.get("seen") is None:
                log = self._logs[conv].log._replace(floor=floors[conv])
                self._logs[conv] = _Known(log, fence)
            else:
                del self._logs[conv]  # halted: the next batch reads that
        return [
            insert
            for insert in stored
            if insert.outcome.event.seq < floors.get(insert.asked.conv, 1)
        ]


async def _trust(_session: Session) -> None:
    """Look at nothing more."""
