"""What the worlds must show to have tested anything: each fault and act, and what it brought about.

A fault that strikes where nothing is there to be struck tests nothing. So not the faults are counted here but
their effects. CI fails when one of them no longer occurs in its seeds.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

COVERED: Final[dict[str, tuple[str, ...]]] = {
    "the server's end": (
        "server kills",
        "server power cuts",
        "server drains",
        "drains with sends under way",
        "server stopped by a failed store",
        "unsynced transactions lost",
    ),
    "the disk": (
        "commits refused",
        "commits of unknown outcome",
        "reads failed",
        "fault: slow disk",
    ),
    "what outlives the server": (
        "backups restored",
        "resumed under an old epoch",
        "gaps told: restored",
        "tails lost",
        "events lost behind the server's back",
        "resumed beyond the head",
        "alarms: data_loss.suspected",
        "conversations halted",
        "losses accepted",
        "gaps told: ahead",
        "keys that were lost and registered again",
    ),
    "retention": (
        "times that old events were let go",
        "gaps told: retention",
        "gaps before pages",
        "cids stored anew after their event was let go",
        "alarms: retention.clock_jumped",
    ),
    "the network": (
        "cuts",
        "connects refused",
        "connects swallowed",
        "fault: stall",
        "fault: silence",
        "fault: half close",
        "fault: pieces",
        "fault: lag",
    ),
    "clocks": (
        "server clock set forwards",
        "server clock set back",
        "client clock set forwards",
        "client clock set back",
    ),
    "the robots' end": (
        "client kills with a memory",
        "client kills without a memory",
        "memories lost",
        "clients left and came back",
        "client pauses",
        "sends taken up after a restart",
    ),
    "one device twice": (
        "devices started twice",
        "sessions replaced by newer ones",
        "second processes kept out by the memory",
    ),
    "slow readers": (
        "readers stalled",
        "writing paused",
        "reading paused",
        "pages read",
    ),
    "sends": (
        "sends stored",
        "sends refused",
        "sends unknown",
        "repeated sends found stored",
        "duplicates found by the store",
        "another body under a known cid: conflict",
        "sends refused for want of room, or by a draining node",
        "commits that left others waiting",
        "pipelined sends overtaken after a refusal",
        "events stored: edit",
        "events stored: redact",
        "messages shown as amended",
    ),
    "groups": (
        "groups created",
        "groups deleted",
        "removals",
        "additions",
        "leaves",
        "joins",
        "changes of role",
        "removals of robots that are away",
        "additions of robots that are away",
        "additions of robots that were away",
        "went on from where it was added again",
        "repairs",
    ),
    "the rest": (
        "pages of events",
        "pages of messages",
        "pages while events arrived",
        "signals heard",
        "news of presence",
        "devices that came later",
    ),
}
"""By subject: the counters that must not stay at zero."""


def missing(counts: Mapping[str, int]) -> list[str]:
    """Return what never occurred and should have."""
    return [what for _, names in COVERED.items() for what in names if not counts.get(what)]


def table(counts: Counter[str]) -> Iterator[str]:
    """Yield the lines of a table: first what must occur, by subject, then everything else."""
    rest = Counter(counts)
    for subject, names in COVERED.items():
        yield f"{subject}:"
        for what in names:
            yield f"  {rest.pop(what, 0):>12,}  {what}"
    yield "besides:"
    for what, count in sorted(rest.items()):
        yield f"  {count:>12,}  {what}"
