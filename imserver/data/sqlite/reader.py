"""Reads of an embedded store, for its reading threads: nearly always one statement an answer."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import apsw
import msgspec
from msgspec import Raw

from imserver.core.errors import SealBroken, StoreCorrupt, StoreUnavailable
from imserver.core.model import ConversationRecord, GroupSummary, Keep, Membership, RobotRecord
from imserver.data.holes import hole_in, last_run, run_from
from imserver.data.sealing import EventSeal
from imserver.data.sqlite.file import SEQ_BITS, is_damage, open_for_reading
from imserver.data.sqlite.rows import encode_json, opened, unpack_all
from imserver.data.sqlite.statements import load_statements
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from imserver.protocol.packed_events import PackedEvents, array, pack

_Values: TypeAlias = Mapping[str, str | int | None]


class _RobotRow(msgspec.Struct):
    """A robot as SQLite writes it in JSON, which has no bytes."""

    name: RobotName
    public_key: str
    registered_ms: int
    revoked_ms: int | None

    def record(self) -> RobotRecord:
        key = bytes.fromhex(self.public_key) or None
        return RobotRecord(self.name, key, self.registered_ms, self.revoked_ms)


class _Page(NamedTuple):
    """What `page_after` answers."""

    events: int
    sealed: int
    before: int
    last: int
    beyond: int | None
    packed: bytes

    @property
    def is_torn(self) -> bool:
        """Whether events are missing in it, or where it would be."""
        return self.last - self.before != self.events if self.events else self.beyond is not None


_log: Final = logging.getLogger(__name__)
_LOG_END: Final = 1 << SEQ_BITS
_AGES_AT_ONCE: Final = 1_000
_AGES_BYTES: Final = 4 * 1024 * 1024
_SQL: Final = load_statements(__package__, "reads.sql")
_robot = msgspec.json.Decoder(_RobotRow).decode
_robots = msgspec.json.Decoder(list[_RobotRow]).decode
_names = msgspec.json.Decoder(set[RobotName]).decode
_conversation = msgspec.json.Decoder(ConversationRecord).decode
_memberships = msgspec.json.Decoder(list[Membership]).decode
_groups = msgspec.json.Decoder(list[GroupSummary]).decode
_acked = msgspec.json.Decoder(dict[RobotName, int]).decode


class ReadingConnection:
    """A connection that only reads, for its one thread."""

    def __init__(self, path: Path, seal: EventSeal | None = None) -> None:
        self._path = path
        self._seal = seal
        self._db = open_for_reading(path)

    def row(self, statement: str, values: _Values) -> Any:
        """Return the first row that a statement answers, or None.

        Raises:
            StoreCorrupt, StoreUnavailable: it cannot be read.
        """
        try:
            # The cursor goes at once: held, it would keep the WAL from starting anew.
            return self._db.execute(statement, values).fetchone()
        except apsw.Error as exc:
            if is_damage(exc):
                _log.error("store.damaged", extra={"path": str(self._path), "error": str(exc)})
                raise StoreCorrupt(
                    f"{self._path} is damaged ({exc}); see `imserver check`"
                ) from exc
            raise StoreUnavailable(f"the store cannot be read now: {exc}") from exc

    def rest(self, *, idle: bool) -> None:
        """Have nothing to do between calls."""

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


class Reader(ReadingConnection):
    """The reading half of a store. Methods are as in the ports, without the waiting."""

    def read_after(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        values = _span_after(conv, after, limit=limit, bytes_max=bytes_max)
        return self._run_after(conv, _Page(*self._row("page_after", values)))

    def read_page(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> PackedEvents | None:
        values = _span_after(conv, after, limit=limit, bytes_max=bytes_max)
        page = _Page(*self._row("page_after", values))
        if page.sealed or self._seal is not None or not page.events or page.is_torn:
            return pack(self._run_after(conv, page))
        return PackedEvents(page.before + 1, page.last, Raw(array(page.events, page.packed)))

    def read_before(
        self, conv: ConversationName, before: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        before = min(max(before, 0), _LOG_END)
        values: _Values = {
            "conv": conv,
            "before": before,
            "limit": max(limit, 0),
            "bytes_max": bytes_max,
        }
        count, floor, packed = self._row("page_before", values)
        if floor is not None and before > floor:
            raise hole_in(conv, before - 1)
        return last_run(self._opened(conv, count, packed))

    def amendments(
        self, conv: ConversationName, seqs: Sequence[int], until: int
    ) -> dict[int, Event]:
        values: _Values = {"conv": conv, "seqs": encode_json(seqs), "until": until}
        count, packed = self._row("amendments", values)
        return {
            event.ref: event
            for event in self._opened(conv, count, packed)
            if event.ref is not None  # always, by the query; here for the type
        }

    def first_kept(self, conv: ConversationName, keep: Keep) -> int:
        values: _Values = {
            "conv": conv,
            "events": keep.events,
            "body_bytes": keep.body_bytes,
        }
        row = self._row("first_kept", values)
        if row is None:
            return 0
        first, floor, head = map(int, row)
        if keep.since_ms is None:
            return first
        return max(first, self._first_since(conv, keep.since_ms, floor, head))

    def robot(self, name: RobotName) -> RobotRecord | None:
        row = self._row("robot", {"name": name})
        return None if row is None else _robot(row[0]).record()

    def known_robots(self, names: Sequence[RobotName]) -> set[RobotName]:
        return _names(self._text("known_robots", {"names": encode_json(names)}))

    def robots(self, *, after: str, limit: int) -> list[RobotRecord]:
        text = self._text("robots", {"after": after, "limit": max(limit, 0)})
        return [row.record() for row in _robots(text)]

    def conversation(self, conv: ConversationName) -> ConversationRecord | None:
        row = self._row("conversation", {"conv": conv})
        return None if row is None else _conversation(row[0])

    def memberships(self, robot: RobotName, device: DeviceName) -> list[Membership]:
        return _memberships(self._text("memberships", {"robot": robot, "device": device}))

    def groups(self, *, member: RobotName | None, after: str, limit: int) -> list[GroupSummary]:
        name = "groups" if member is None else "groups_of_member"
        values = {"member": member, "after": after, "limit": max(limit, 0)}
        return _groups(self._text(name, values))

    def acked(self, conv: ConversationName) -> dict[RobotName, int]:
        return _acked(self._text("acked", {"conv": conv}))

    def _first_since(self, conv: ConversationName, since_ms: int, first: int, head: int) -> int:
        """Return the seq of the first event from ``first`` on that is not older, at most the head's."""
        while first < head:
            limits = {"limit": _AGES_AT_ONCE, "bytes_max": _AGES_BYTES}
            page = _Page(*self._row("page_after", _span_after(conv, first - 1, **limits)))
            if not page.events:
                if page.beyond is None:
                    break
                first = page.beyond
                continue
            for event in unpack_all(page.events, page.packed):
                if event.ts >= since_ms:
                    return min(event.seq, head)
                first = event.seq + 1
        return head

    def _run_after(self, conv: ConversationName, page: _Page) -> list[Event]:
        """Return the events of a page up to the first that is missing.

        Raises:
            EventMissing: that one is the first of all.
        """
        events = self._opened(conv, page.events, page.packed)
        return run_from(conv, page.before + 1, events) if page.is_torn else events

    def _opened(self, conv: ConversationName, count: int, packed: bytes) -> list[Event]:
        try:
            return [opened(conv, event, self._seal) for event in unpack_all(count, packed)]
        except SealBroken as exc:
            _log.error("sealing.broken", extra={"path": str(self._path), "reason": str(exc)})
            raise

    def _text(self, name: str, values: _Values) -> str:
        text: str = self._row(name, values)[0]
        return text

    def _row(self, name: str, values: _Values) -> Any:
        return self.row(_SQL[name], values)


def _span_after(conv: ConversationName, after: int, *, limit: int, bytes_max: int) -> _Values:
    return {
        "conv": conv,
        "after": min(max(after, 0), _LOG_END),
        "limit": max(limit, 0),
        "bytes_max": bytes_max,
    }
