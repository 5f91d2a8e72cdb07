"""G2: the raw log by itself, each conversation 1, 2, 3, … without a gap."""

from imserver.verify.findings import Findings, LogPlace
from imserver.verify.guarantees import Guarantee
from imserver.verify.logs import ConversationLog, Logs

_HOLES_MAX = 20


def check_logs(logs: Logs, findings: Findings) -> None:
    """Look through the raw logs."""
    for log in logs.raw():
        findings.checked[Guarantee.G2] += len(log.entries)
        _check_log(log, findings)


def _check_log(log: ConversationLog, findings: Findings) -> None:
    for first, last in log.missing(most=_HOLES_MAX):
        which = f"{first}" if first == last else f"{first} to {last}"
        findings.add(
            Guarantee.G2,
            f"the log of {log.conv} has no {which}, though it has {last + 1}",
            LogPlace(log.conv, first, None),
            LogPlace(log.conv, last + 1, log.entries[last + 1]),
        )
    for seq in log.repeated:
        findings.add(
            Guarantee.G2,
            f"the log of {log.conv} has more than one event at {seq}",
            LogPlace(log.conv, seq, log.entries[seq]),
        )
