"""How long it took, after a fault or its healing, until sends were acked again, and events shown."""

import bisect
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from tests.chaos.journal import Entry, Journal
from tests.chaos.second_opinion import Ack

ON_THE_WAY_S = 1.0


class Recovery(NamedTuple):
    """What was noted, and how long from then on the ack took that counts; whose that was, if it matters."""

    entry: Entry
    took_s: float
    slowest: str


class _Line:
    """The acks of one robot, or of one conversation; or the events that a robot was shown."""

    def __init__(self, times: Iterable[tuple[float, float]]) -> None:
        in_order = sorted(times)
        self._asked = [asked_t for asked_t, _ in in_order]
        firsts = accumulate((t for _, t in reversed(in_order)), min)
        self._first_ack = list(firsts)[::-1]
        self._acked = sorted(t for _, t in in_order)

    def after(self, t: float) -> float:
        """Return when the first ack came that tells of the time after a moment; infinity if none did.

        Not one that was on its way: it was asked for after that moment, or came `ON_THE_WAY_S` later.
        """
        at = bisect.bisect_right(self._asked, t)
        asked_later = self._first_ack[at] if at < len(self._asked) else math.inf
        return min(asked_later, _next(self._acked, t + ON_THE_WAY_S))


def recoveries_of(
    journal: Journal,
    acks: Sequence[Ack],
    names: Collection[str],
    *,
    shown: Mapping[str, Sequence[float]],
) -> list[Recovery]:
    """Return how long each recovery that has a limit took, and note those that took too long.

    Args:
        journal: of the run.
        acks: all that robots saw.
        names: the robots and conversations that count where each has to go on.
        shown: when each robot was shown events.
    """
    ok_times = sorted(ack.t for ack in acks)
    lines = _lines(acks, names)
    for robot in shown.keys() & names:
        lines[f"{robot}, shown"] = _Line((-math.inf, t) for t in shown[robot])
    found = []
    for entry in list(journal.entries):
        if entry.limit_s is None:
            continue
        if entry.each:
            slowest, acked_t = max(((n, line.after(entry.t)) for n, line in lines.items()), key=_t)
        else:
            slowest, acked_t = "", _next(ok_times, entry.t)
        if acked_t == math.inf and not entry.each:
            continue  # the run had ended
        recovery = Recovery(entry, round(acked_t - entry.t, 3), slowest)
        found.append(recovery)
        if recovery.took_s - entry.waited_s > entry.limit_s:
            journal.note("finding", entry.name, _told(recovery))
    return found


def _lines(acks: Sequence[Ack], names: Collection[str]) -> dict[str, _Line]:
    of_each: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for ack in acks:
        for name in (ack.client, ack.conv):
            if name in of_each:
                of_each[name].append((ack.asked_t, ack.t))
    return {name: _Line(those) for name, those in of_each.items()}


def _t(line: tuple[str, float]) -> float:
    return line[1]


def _next(ok_times: Sequence[float], t: float) -> float:
    at = bisect.bisect_right(ok_times, t)
    return ok_times[at] if at < len(ok_times) else math.inf


def _told(recovery: Recovery) -> str:
    entry, whose = recovery.entry, f" of {recovery.slowest}" if recovery.slowest else ""
    since = "it was healed" if entry.kind == "healed" else "it"
    late = f"first ack{whose} {recovery.took_s:.2f} s after {since}; at most {entry.limit_s:g} s"
    waited = f" besides {entry.waited_s:.2f} s in line for a processor"
    return late + waited * (entry.waited_s > 0)
