"""When the next commit begins, after one that many waited for.

The story. Who was answered sends the next event at once, if it has one. Meanwhile others wait already,
whose events came while the commit was on its way. If the next commit began with those alone, two groups
would take turns for good, each with half of the senders; and a commit costs the same for few as for many:
an fsync, and waking the store's thread and the loop. So the next one waits until half as many have come as
the last one took, and then for as long as each turn of the loop brings more, though never longer than
`GATHER_S` after the answers. Where that was in vain, because those who were answered have nothing more to
send or are far away, the next `HASTY_COMMITS` wait for nobody. Nor does one that follows a commit of few,
so that little traffic never waits.

Source of the idea: PostgreSQL's ``commit_delay`` and ``commit_siblings``; MySQL's
``binlog_group_commit_sync_no_delay_count``.
"""

import math
from typing import Final

GATHER_S: Final = 0.002
"""The longest that a commit waits for more, in seconds."""

MANY: Final = 16
"""A commit of fewer events is followed by the next one at once."""

HASTY_COMMITS: Final = 7
"""Commits that wait for nobody after one that waited in vain."""


class Gathering:
    """Says whether a commit waits for more. It keeps no clock; callers hand in the time."""

    def __init__(self) -> None:
        self._half = 0
        self._until_s = -math.inf
        self._seen = -1
        self._hasty = 0

    def on_answers(self, events: int, now_s: float) -> None:
        """Take in that those were answered whose ``events`` a commit took."""
        is_hasty = events < MANY or self._hasty > 0
        self._hasty = max(self._hasty - 1, 0)
        self._half = events // 2
        self._until_s = -math.inf if is_hasty else now_s + GATHER_S
        self._seen = -1

    def wait_s(self, events: int, now_s: float) -> float | None:
        """Return for how long the next commit waits at most, now that ``events`` have come for it: 0 for a
        turn of the loop, None for not at all."""
        left_s = self._until_s - now_s
        if left_s <= 0:
            return None
        if events < self._half:
            return left_s
        if events == self._seen:
            return None
        self._seen = events
        return 0.0

    def give_up(self) -> None:
        """Take in that the time has passed for which a commit waited."""
        self._until_s = -math.inf
        self._hasty = HASTY_COMMITS
