"""What clients saw at a place against what stands there: one value for ever (G3), nothing that is not in the
log (G8), nothing for who is no member (G13)."""

from typing import TypeAlias

from imserver.verify.findings import Findings, Witness, witness_of
from imserver.verify.guarantees import Guarantee
from imserver.verify.logs import Content, ConversationLog, Entry, content_of
from imserver.verify.records import Read, Receive
from imserver.verify.sessions import Session

Seen: TypeAlias = Receive | Read


class Values:
    """Measures every event that a client saw."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._words = 0
        self._against_raw = 0
        self._against_members = 0

    def on_event(
        self, session: Session, log: ConversationLog, record: Seen, place: int, *, until: int
    ) -> None:
        """Take in an event that a session saw; ``until`` is the last seq that its robot may see."""
        self._words += 1
        content = content_of(record.kind, record.ref, record.body_sha)
        entry = log.entries.get(record.seq)
        if entry is None:
            self._first_word(log, record, content, place)
        elif (
            entry.content != content
            or entry.cid != record.cid
            or entry.sender != record.sender
            or entry.kind != record.kind
        ):
            self._differs(log, record.seq, f"{session.client} was shown", place)
        if log.is_raw:
            self._against_raw += 1
        if log.members is not None and not session.admin:
            self._against_members += 1
            if record.seq > until:
                self._not_a_member(session, log, record.seq, place, until=until)

    def on_ack(self, log: ConversationLog, seq: int, entry: Entry) -> None:
        """Take in an acked send as a word about its place, where no raw log tells better."""
        if log.is_raw:
            return
        self._words += 1
        known = log.entries.get(seq)
        if known is None:
            log.put(seq, entry)
        elif (known.sender, known.cid, known.content) != (entry.sender, entry.cid, entry.content):
            self._differs(log, seq, f"{entry.sender} was told that its event is", entry.where)

    def finish(self) -> None:
        """Report how much was looked at."""
        checked = self._findings.checked
        checked[Guarantee.G3] += self._words
        checked[Guarantee.G8] += self._against_raw
        checked[Guarantee.G13] += self._against_members

    def _first_word(self, log: ConversationLog, record: Seen, content: Content, place: int) -> None:
        if not log.is_raw:
            log.put(record.seq, Entry(record.sender, record.cid, record.kind, content, place))
        elif record.seq >= log.floor:
            self._findings.add(
                Guarantee.G8,
                f"{record.client} was shown {log.conv} {record.seq}, which is not in the log "
                f"(its head is {log.head})",
                place,
                witness_of(log, record.seq),
            )

    def _differs(self, log: ConversationLog, seq: int, what: str, place: int) -> None:
        known: Witness = witness_of(log, seq)
        self._findings.add(
            Guarantee.G3,
            f"{what} another event at {log.conv} {seq} than the one that "
            f"{'stands there' if log.is_raw else 'was seen there first'}",
            place,
            known,
        )

    def _not_a_member(
        self, session: Session, log: ConversationLog, seq: int, place: int, *, until: int
    ) -> None:
        why = f"its membership ended at {until}" if until else "it was never a member"
        witnesses = [place] if not until else [place, witness_of(log, until)]
        self._findings.add(
            Guarantee.G13, f"{session.client} was shown {log.conv} {seq}, but {why}", *witnesses
        )
