"""The order of the log against the order of time: what was acked before another was sent stands before it
(G5), and sends that follow each other on one connection keep their order (G6)."""

import itertools
from array import array
from collections.abc import Iterable

from msgspec import Struct

from imserver.verify.findings import Findings, Witness, witness_of
from imserver.verify.guarantees import Guarantee
from imserver.verify.logs import ConversationLog
from imserver.verify.sessions import Session

_FIELDS = 3


class Timed(Struct, frozen=True, gc=False):
    """An event of a log, and when its send began and ended by one clock; ``acked_s`` is infinite for one
    that was never acked."""

    seq: int
    invoked_s: float
    acked_s: float
    invoked: int
    acked: int


def check_real_time(log: ConversationLog, sends: list[Timed], findings: Findings) -> None:
    """Judge the sends of one conversation that were timed by one clock; n log n."""
    findings.checked[Guarantee.G5] += len(sends)
    ended = sorted(sends, key=lambda send: send.acked_s)
    highest: Timed | None = None
    position = 0
    for later in sorted(sends, key=lambda send: send.invoked_s):
        while position < len(ended) and ended[position].acked_s < later.invoked_s:
            if highest is None or ended[position].seq > highest.seq:
                highest = ended[position]
            position += 1
        if highest is not None and highest.seq > later.seq:
            witnesses: list[Witness] = [highest.invoked, highest.acked, later.invoked]
            witnesses.append(later.acked if later.acked != -1 else witness_of(log, later.seq))
            findings.add(
                Guarantee.G5,
                f"{log.conv} {highest.seq} was acked before {later.seq} was sent, "
                "but stands behind it",
                *witnesses,
            )


def check_pipelines(sessions: Iterable[Session], findings: Findings) -> None:
    """Judge the sends that say on which connection they were written."""
    for session in sessions:
        for (connection, conv), row in session.pipelines.items():
            where = f"on connection {connection} {session.client} sent to {conv}"
            _check_pipeline(row, findings, where=where)


def _check_pipeline(row: "array[int]", findings: Findings, *, where: str) -> None:
    columns = (row[start::_FIELDS] for start in range(_FIELDS))
    sends = sorted(zip(*columns, strict=True))
    findings.checked[Guarantee.G6] += len(sends)
    for (invoked, seq, acked), (later_invoked, later_seq, later_acked) in itertools.pairwise(sends):
        if later_seq <= seq:
            findings.add(
                Guarantee.G6,
                f"{where} what became {seq} before what became {later_seq}",
                invoked,
                acked,
                later_invoked,
                later_acked,
            )
