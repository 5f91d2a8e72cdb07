"""Sends, from their invocation to their place in the log.

While records come in: every outcome has its invocation (G14), and all acks of a cid agree (G4). In the end,
with everybody's sends known: acked ones stand in the log once (G1), under their sender's name (G22); refused
ones do not, nor does what nobody sent (G7); what stayed unknown stands there once at most (G14). Gives the
order of time (G5) and of connections (G6) what they need.
"""

from array import array
from math import inf
from typing import Final, TypeAlias

from msgspec import Struct

from imserver.verify.checks.values import Values
from imserver.verify.findings import Findings
from imserver.verify.guarantees import Guarantee
from imserver.verify.logs import Content, Entry, Logs, content_of
from imserver.verify.records import Send
from imserver.verify.sessions import OpenRequest, Session

MIXED_CLOCKS: Final = "\0"
"""Stands for the clock of a cid that was sent by several, whose times say nothing of each other."""


class Sending(Struct, gc=False):
    """A cid with one content, over all its retries.

    Attributes:
        content, kind: what is sent.
        invoked, invoked_s, clock: its first invocation.
        acked, acked_s: the first ack, -1 and infinite if there is none.
        epoch, seq: where the ack says it stands.
        refused: the last definite refusal, -1 if there is none.
        code: of that.
        maybe: an invocation ended without anybody knowing.
        waiting: invocations without outcome yet.
        other: the same cid with another content, which is a client's mistake.
    """

    content: Content
    kind: str
    invoked: int
    invoked_s: float
    clock: str
    acked: int = -1
    acked_s: float = inf
    epoch: str = ""
    seq: int = 0
    refused: int = -1
    code: str = ""
    maybe: bool = False
    waiting: int = 0
    other: "Sending | None" = None

    @property
    def is_refused(self) -> bool:
        """Whether every one of its invocations was refused for good."""
        return self.refused != -1 and self.acked == -1 and not self.maybe and not self.waiting

    def variant(self, content: Content) -> "Sending | None":
        """Return the sending of this cid that has a content, if there is one."""
        found: Sending | None = self
        while found is not None and found.content != content:
            found = found.other
        return found


ByCid: TypeAlias = dict[str, Sending]


class Sends:
    """Takes in the steps of sends.

    Attributes:
        by_conv: everything that was sent, by conversation, client and cid.
    """

    def __init__(self, logs: Logs, values: Values, findings: Findings) -> None:
        self.by_conv: dict[str, dict[str, ByCid]] = {}
        self._logs = logs
        self._values = values
        self._findings = findings

    def on_send(self, session: Session, record: Send, place: int) -> None:
        """Take in a step."""
        if record.type == "invoke":
            self._invoked(session, record, place)
            return
        request = session.take_request((record.conv, record.cid))
        if request is None or request.sending is None:
            self._findings.add(
                Guarantee.G14,
                f"{session} has an outcome ({record.type}) for cid {record.cid} in {record.conv}, "
                "but no request that waits for one",
                place,
            )
            return
        sending = request.sending
        sending.waiting -= 1
        if record.type == "ok":
            self._stored(session, record, place, request=request)
        elif record.type == "fail":
            sending.refused = place
            sending.code = record.code
        else:
            sending.maybe = True

    def on_end(self, session: Session) -> None:
        """Take in that there are no more records of a session."""
        for key, waiting in session.requests.items():
            for request in waiting:
                if request.sending is not None:
                    request.sending.maybe = True
                    request.sending.waiting -= 1
                if session.closed != -1:
                    self._findings.add(
                        Guarantee.G14,
                        f"{session} was closed, but its request {' '.join(key)} has no outcome",
                        request.where,
                        session.closed,
                    )
        session.requests.clear()

    def _invoked(self, session: Session, record: Send, place: int) -> None:
        self._findings.checked[Guarantee.G14] += 1
        content = content_of(record.kind, record.ref, record.body_sha)
        by_cid = self._by_cid(record.conv, session.client)
        first = by_cid.get(record.cid)
        sending = None if first is None else first.variant(content)
        if sending is None:
            sending = Sending(content, record.kind, place, record.t, session.clock, other=first)
            by_cid[record.cid] = sending
        elif sending.clock != session.clock:
            sending.clock = MIXED_CLOCKS
        elif record.t < sending.invoked_s:  # by a session that is further down in the history
            sending.invoked, sending.invoked_s = place, record.t
        sending.waiting += 1
        key = (record.conv, record.cid)
        session.requests.setdefault(key, []).append(OpenRequest(place, sending))

    def _stored(self, session: Session, record: Send, place: int, *, request: OpenRequest) -> None:
        sending, seq = request.sending, record.seq
        assert sending is not None, "asked before"
        assert seq is not None, "the reader refuses an ok without"
        self._check_agreement(session, record, place, request=request)
        if sending.acked == -1 or sending.epoch != record.epoch:
            sending.epoch, sending.seq = record.epoch, seq
            sending.acked, sending.acked_s = place, record.t
        log = self._logs.of(record.conv, record.epoch)
        if not log.is_raw:
            entry = Entry(session.client, record.cid, sending.kind, sending.content, place)
            self._values.on_ack(log, seq, entry)
        if record.connection is not None and not record.dup:
            row = session.pipelines.setdefault((record.connection, record.conv), array("q"))
            row.extend((request.where, seq, place))

    def _check_agreement(
        self, session: Session, record: Send, place: int, *, request: OpenRequest
    ) -> None:
        sending = request.sending
        other: Sending | None = self._by_cid(record.conv, session.client)[record.cid]
        while other is not None and sending is not None:
            if other.acked != -1 and other.epoch == record.epoch:
                if other is not sending:
                    sending.clock = MIXED_CLOCKS  # whose place that is cannot be told
                    self._findings.add(
                        Guarantee.G4,
                        f"{session.client} sent two different events to {record.conv} with cid "
                        f"{record.cid}, and both were acked (the second must be refused)",
                        other.invoked,
                        other.acked,
                        request.where,
                        place,
                    )
                elif other.seq != record.seq:
                    self._findings.add(
                        Guarantee.G4,
                        f"cid {record.cid} of {session.client} was acked at {record.conv} "
                        f"{other.seq} and at {record.seq}",
                        other.acked,
                        place,
                    )
            other = other.other

    def _by_cid(self, conv: str, client: str) -> ByCid:
        by_client = self.by_conv.get(conv)
        if by_client is None:
            by_client = self.by_conv[conv] = {}
        by_cid = by_client.get(client)
        if by_cid is None:
            by_cid = by_client[client] = {}
        return by_cid
