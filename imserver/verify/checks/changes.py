"""Changes of members, as the clients asked for them: each ends in one way (G14), and what was acked stands
in the log (G1)."""

from typing import Final, NamedTuple, TypeAlias

from imserver.protocol.events import MEMBERS_ADDED, MEMBERS_REMOVED
from imserver.verify.findings import Findings, witness_of
from imserver.verify.guarantees import Guarantee
from imserver.verify.logs import Logs
from imserver.verify.records import Change, Join, Leave
from imserver.verify.sessions import OpenRequest, Session

ChangeStep: TypeAlias = Change | Join | Leave
_CHANGE: Final = "change"  # marks its requests among the sends'


class _Acked(NamedTuple):
    client: str
    conv: str
    epoch: str
    kind: str
    seq: int
    invoked: int
    acked: int


class Changes:
    """Takes in the steps of changes."""

    def __init__(self, logs: Logs, findings: Findings) -> None:
        self._logs = logs
        self._findings = findings
        self._acked: list[_Acked] = []

    def on_change(self, session: Session, record: ChangeStep, place: int) -> None:
        """Take in a step."""
        kind = _kind_of(record)
        key = (_CHANGE, record.conv, kind)
        if record.type == "invoke":
            self._findings.checked[Guarantee.G14] += 1
            session.requests.setdefault(key, []).append(OpenRequest(place))
            return
        request = session.take_request(key)
        if request is None:
            self._findings.add(
                Guarantee.G14,
                f"{session} has an outcome ({record.type}) for {kind} in {record.conv}, "
                "but no request that waits for one",
                place,
            )
        elif record.type == "ok" and record.seq is not None:
            self._acked.append(
                _Acked(
                    session.client,
                    record.conv,
                    record.epoch,
                    kind,
                    record.seq,
                    request.where,
                    place,
                )
            )

    def finish(self) -> None:
        """Look for the acked changes in the logs."""
        for acked in self._acked:
            log = self._logs.of(acked.conv, acked.epoch)
            if not log.is_raw or acked.seq < log.floor:
                continue
            self._findings.checked[Guarantee.G1] += 1
            entry = log.entries.get(acked.seq)
            if entry is None or (entry.kind, entry.sender) != (acked.kind, acked.client):
                self._findings.add(
                    Guarantee.G1,
                    f"{acked.kind} of {acked.client} was acked at {acked.conv} {acked.seq}, "
                    "but that is not what stands there",
                    acked.invoked,
                    acked.acked,
                    witness_of(log, acked.seq),
                )


def _kind_of(record: ChangeStep) -> str:
    match record:
        case Join():
            return MEMBERS_ADDED
        case Leave():
            return MEMBERS_REMOVED
        case Change(kind=kind):
            return kind
