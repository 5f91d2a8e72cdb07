"""Reads the raw log: from a data directory, or from a file of events as ``imserver tail --json`` prints."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Raw, Struct

from imserver.core.errors import ImserverError
from imserver.core.key_ring import KeyRing
from imserver.core.membership_changes import change_of
from imserver.core.model import MembershipChange
from imserver.data.directory import DATABASE_NAME
from imserver.data.sqlite.dump import LogHeader, open_dump
from imserver.protocol.events import SERVER_KINDS, Event
from imserver.verify.body_hash import body_sha, stored_body_sha
from imserver.verify.history import HistoryUnusable
from imserver.verify.logs import ConversationLog, Entry, Logs, content_of
from imserver.verify.records import Name, Place, Seq, Sha

_NO_BODY: Final = Raw(b"")


class _LogLine(Struct, gc=False):
    """An event in a file: with its body, or with the body's hash.

    ``floor`` tells, on any line of its conversation, which is the first seq that retention has kept.
    """

    conv: Name
    seq: Seq
    sender: Name
    cid: Name
    kind: Name
    epoch: str = ""
    ref: Place | None = None
    body: Raw = _NO_BODY
    body_sha: Sha | None = None
    floor: Seq = 1


_decode_line: Final = msgspec.json.Decoder(_LogLine).decode
_decode_body: Final = msgspec.json.Decoder().decode
_encode_body: Final = msgspec.msgpack.Encoder().encode


class _Loading:
    """A log on its way in: the changes of members are gathered apart."""

    def __init__(self, conv: str, epoch: str) -> None:
        self.log = ConversationLog(conv, epoch, is_raw=True)
        self.changes: list[tuple[int, MembershipChange]] = []
        self.members_known = True

    def put(self, event: Event, sha: str) -> None:
        sender, kind = sys.intern(event.sender), sys.intern(event.kind)
        content = content_of(kind, event.ref, sha)
        self.log.put(event.seq, Entry(sender, event.cid, kind, content))
        if event.kind not in SERVER_KINDS:
            return
        if not memoryview(event.body):
            self.members_known = False
            return
        try:
            self.changes.append((event.seq, change_of(event)))
        except msgspec.MsgspecError as exc:
            raise HistoryUnusable(
                f"the body of {event.kind} at {self.log.conv} {event.seq} is not one: {exc}"
            ) from exc

    def done(self) -> ConversationLog:
        if self.members_known:
            self.changes.sort(key=lambda item: item[0])
            self.log.fold_members(self.changes)
        return self.log


def _loading(header: LogHeader) -> _Loading:
    loading = _Loading(header.conv, header.epoch)
    loading.log.raise_floor(header.floor)
    return loading


def no_log() -> Logs:
    """Return logs that are known from the clients' observations alone."""
    return Logs()


def read_data_directory(data: Path, ring: KeyRing | None = None) -> Logs:
    """Return the logs and cursors of the store in a data directory, of a server that is stopped (or busy
    with other conversations: what it stores from now on is not seen). ``ring`` opens bodies that are sealed.

    Raises:
        HistoryUnusable: there is no store, or it cannot be read.
    """
    path = data / DATABASE_NAME
    if not path.is_file():
        raise HistoryUnusable(f"there is no store in {data}; name a server's data directory")
    try:
        with open_dump(path, ring) as dump:
            logs = logs_of(str(data), dump.conversations(), dump.events())
            logs.cursors = {
                (cursor.robot, cursor.device, cursor.conv): cursor.seq for cursor in dump.cursors()
            }
    except HistoryUnusable:
        raise
    except (ImserverError, msgspec.DecodeError) as exc:
        raise HistoryUnusable(f"the log in {data} cannot be read: {exc}") from exc
    return logs


def logs_of(
    source: str, conversations: Iterable[LogHeader], events: Iterable[tuple[int, Event]]
) -> Logs:
    """Return logs that were read from a store in whatever way.

    Args:
        source: what they were read from, for people.
        conversations: all of them.
        events: each with the id of its conversation.

    Raises:
        HistoryUnusable: a change of members cannot be read.
        msgspec.DecodeError: a body is no MessagePack.
    """
    logs = Logs(source)
    loading = {head.id: _loading(head) for head in conversations}
    for number, event in events:
        target = loading.get(number)
        if target is None:
            target = loading[number] = _Loading(f"conversation {number}", "")
        target.put(event, stored_body_sha(event.body))
    for target in loading.values():
        logs.add_raw(target.done())
    return logs


def read_log_file(path: Path) -> Logs:
    """Return the logs in a file of events, one JSON object a line, of any number of conversations.

    Raises:
        HistoryUnusable: it cannot be read, or a line is no event.
    """
    logs = Logs(str(path))
    loading: dict[str, _Loading] = {}
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                line, event, sha = _log_event(f"{path}:{number}", text)
                target = loading.get(line.conv)
                if target is None:
                    target = loading[line.conv] = _Loading(line.conv, line.epoch)
                elif target.log.epoch != line.epoch:
                    raise HistoryUnusable(
                        f"{path}:{number} has epoch {line.epoch!r}, and {line.conv} began with "
                        f"{target.log.epoch!r}: a log has one epoch"
                    )
                target.log.raise_floor(line.floor)
                target.put(event, sha)
    except OSError as exc:
        raise HistoryUnusable(f"{path} cannot be read: {exc.strerror}") from exc
    for target in loading.values():
        logs.add_raw(target.done())
    return logs


def _log_event(place: str, text: bytes) -> tuple[_LogLine, Event, str]:
    try:
        line = _decode_line(text)
        body, sha = _NO_BODY, line.body_sha
        if sha is None:
            if not memoryview(line.body):
                raise ValueError("it needs `body` or `body_sha`")
            value = _decode_body(line.body)
            sha = body_sha(value)
            body = Raw(_encode_body(value)) if line.kind in SERVER_KINDS else _NO_BODY
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as exc:
        raise HistoryUnusable(f"{place} is no event of a log: {exc}") from exc
    event = Event(line.seq, 0, line.sender, line.cid, line.kind, body, line.ref)
    return line, event, sha
