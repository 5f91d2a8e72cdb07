"""Sends against the logs, when everybody's sends are known: see `sends` for what is judged."""

from collections.abc import Iterator

from imserver.verify.checks.order import Timed, check_real_time
from imserver.verify.checks.sends import MIXED_CLOCKS, ByCid, Sending
from imserver.verify.findings import Findings, witness_of
from imserver.verify.guarantees import Guarantee
from imserver.verify.logs import ConversationLog, Double, Entry, Logs


class Settlement:
    """Compares what was sent with what stands in the logs.

    Args:
        sends: by conversation, client and cid.
        recorded: the clients that have a history.
        admins: those of them that may send without being members.
    """

    def __init__(
        self,
        logs: Logs,
        sends: dict[str, dict[str, ByCid]],
        findings: Findings,
        *,
        recorded: set[str],
        admins: set[str],
    ) -> None:
        self._logs = logs
        self._sends = sends
        self._findings = findings
        self._recorded = recorded
        self._admins = admins

    def settle(self) -> None:
        """Judge every send, and every event of every log."""
        for conv, by_client in self._sends.items():
            self._settle_conversation(conv, by_client)
        for log in list(self._logs):
            for seq, entry in log.entries.items():
                if not entry.is_the_servers:
                    self._check_invoked(log, seq, entry)
                self._check_sender_is_member(log, seq, entry)
            for double in log.doubles:
                self._report_double(log, double)

    def _settle_conversation(self, conv: str, by_client: dict[str, ByCid]) -> None:
        timed: dict[tuple[str, str], list[Timed]] = {}
        for client, by_cid in by_client.items():
            for cid, first in by_cid.items():
                for sending in _variants(first):
                    log = self._settle_sending(conv, client, cid, sending=sending)
                    _time(timed, log, client, cid, sending=sending)
        for (epoch, _), sends in timed.items():
            check_real_time(self._logs.of(conv, epoch), sends, self._findings)

    def _settle_sending(
        self, conv: str, client: str, cid: str, *, sending: Sending
    ) -> ConversationLog | None:
        """Judge a send; return the log in which it has a place, None if it has none."""
        if sending.acked != -1:
            self._findings.checked[Guarantee.G4] += 1
            log = self._logs.of(conv, sending.epoch)
            self._settle_acked(log, client, cid, sending=sending)
            return log
        found = self._found(conv, client, cid, sending=sending)
        if found is None:
            if sending.maybe:
                self._findings.notes["sends whose outcome stayed unknown, and were not seen"] += 1
            return None
        log, place = found
        if sending.is_refused:
            self._findings.add(
                Guarantee.G7,
                f"cid {cid} of {client} was refused ({sending.code or 'no code'}), but stands at "
                f"{conv} {place}",
                sending.invoked,
                sending.refused,
                witness_of(log, place),
            )
            return None
        self._findings.notes["sends whose outcome stayed unknown, and happened"] += 1
        return log

    def _found(
        self, conv: str, client: str, cid: str, *, sending: Sending
    ) -> tuple[ConversationLog, int] | None:
        for log in self._logs.all_of(conv):
            place = log.places.get(client, {}).get(cid)
            if place is not None and log.entries[place].content == sending.content:
                return log, place
        return None

    def _settle_acked(
        self, log: ConversationLog, client: str, cid: str, *, sending: Sending
    ) -> None:
        if not log.is_raw:
            self._settle_restored(log.conv, client, cid, sending=sending)
            return
        if sending.seq < log.floor:
            self._findings.notes["acked events that retention has removed since"] += 1
            return
        self._findings.checked[Guarantee.G1] += 1
        entry = log.entries.get(sending.seq)
        if entry is not None and entry.cid == cid and entry.content == sending.content:
            if entry.sender != client:
                self._report_forged(log, sending.seq, client, sending=sending)
            return
        if entry is not None and entry.cid == cid and entry.sender == client:
            self._report_other_content(log, client, cid, sending=sending)
            return
        place = log.places.get(client, {}).get(cid)
        instead = "the log has no event of that cid" if place is None else f"it stands at {place}"
        self._findings.add(
            Guarantee.G1,
            f"cid {cid} of {client} was acked at {log.conv} {sending.seq}, but {instead}",
            sending.invoked,
            sending.acked,
            witness_of(log, place or sending.seq),
        )

    def _settle_restored(self, conv: str, client: str, cid: str, *, sending: Sending) -> None:
        """Count what was acked under an epoch that the store does not have any more: a restore may lose the
        end of a log, and says so by the new epoch."""
        if not self._logs.is_raw:
            return
        found = self._found(conv, client, cid, sending=sending)
        if found is not None and found[0].is_raw:
            self._findings.checked[Guarantee.G1] += 1
        else:
            self._findings.notes["acked events that a restore of the store has lost"] += 1

    def _report_other_content(
        self, log: ConversationLog, client: str, cid: str, *, sending: Sending
    ) -> None:
        stored = log.entries[sending.seq].content
        sent = self._sends[log.conv][client][cid].variant(stored)
        witness = witness_of(log, sending.seq)
        if sent is None:
            self._findings.add(
                Guarantee.G1,
                f"cid {cid} of {client} was acked at {log.conv} {sending.seq}, but what stands "
                "there says something else than was sent",
                sending.invoked,
                sending.acked,
                witness,
            )
        elif sent.acked == -1:
            self._findings.add(
                Guarantee.G4,
                f"{client} sent cid {cid} to {log.conv} with another content than is stored "
                f"at {sending.seq}, and was given that event's ack instead of a refusal",
                sent.invoked,
                sending.invoked,
                sending.acked,
                witness,
            )

    def _report_forged(
        self, log: ConversationLog, seq: int, client: str, *, sending: Sending
    ) -> None:
        self._findings.add(
            Guarantee.G22,
            f"{client} sent {log.conv} {seq}, but the log names {log.entries[seq].sender} "
            "as its sender",
            sending.invoked,
            sending.acked,
            witness_of(log, seq),
        )

    def _check_invoked(self, log: ConversationLog, seq: int, entry: Entry) -> None:
        if entry.sender not in self._recorded:
            self._findings.notes["events of senders without a history, not judged by G7"] += 1
            return
        checked = self._findings.checked
        checked[Guarantee.G7] += 1
        checked[Guarantee.G22] += 1
        by_client = self._sends.get(log.conv, {})
        first = by_client.get(entry.sender, {}).get(entry.cid)
        if first is not None and first.variant(entry.content) is not None:
            return
        for client, by_cid in by_client.items():
            other = by_cid.get(entry.cid)
            sending = None if other is None else other.variant(entry.content)
            if sending is not None and client != entry.sender:
                if sending.acked == -1 or sending.seq != seq:  # else told by its ack already
                    self._report_forged(log, seq, client, sending=sending)
                return
        if first is not None and first.acked != -1 and first.seq == seq and log.is_raw:
            return  # told by its ack already
        what = "what was sent with its cid is something else" if first else "it never sent that"
        self._findings.add(
            Guarantee.G7,
            f"{log.conv} {seq} is said to be cid {entry.cid} of {entry.sender}, but {what}",
            witness_of(log, seq),
            first.invoked if first is not None else -1,
        )

    def _check_sender_is_member(self, log: ConversationLog, seq: int, entry: Entry) -> None:
        sender = entry.sender
        if log.members is None or sender not in self._recorded or sender in self._admins:
            return
        self._findings.checked[Guarantee.G13] += 1
        if not log.is_member(sender, seq):
            self._findings.add(
                Guarantee.G13,
                f"{sender} wrote {log.conv} {seq} without being a member",
                witness_of(log, seq),
            )

    def _report_double(self, log: ConversationLog, double: Double) -> None:
        first = self._sends.get(log.conv, {}).get(double.sender, {}).get(double.cid)
        if first is None:
            guarantee, what = Guarantee.G4, ""
        elif any(sending.acked != -1 for sending in _variants(first)):
            guarantee, what = Guarantee.G1, ", which was acked,"
        else:
            guarantee, what = Guarantee.G14, ", whose outcome stayed unknown,"
        one, other = double.seqs
        self._findings.add(
            guarantee,
            f"cid {double.cid} of {double.sender}{what} stands in {log.conv} twice, "
            f"at {one} and {other}",
            witness_of(log, one),
            witness_of(log, other),
            first.invoked if first is not None else -1,
        )


def _variants(first: Sending) -> Iterator[Sending]:
    sending: Sending | None = first
    while sending is not None:
        yield sending
        sending = sending.other


def _time(
    timed: dict[tuple[str, str], list[Timed]],
    log: ConversationLog | None,
    client: str,
    cid: str,
    *,
    sending: Sending,
) -> None:
    """Put a send that has a place in a log with the others of its log and clock."""
    if log is None or sending.clock == MIXED_CLOCKS:
        return
    seq = sending.seq or log.places[client][cid]
    send = Timed(seq, sending.invoked_s, sending.acked_s, sending.invoked, sending.acked)
    timed.setdefault((log.epoch, sending.clock), []).append(send)
