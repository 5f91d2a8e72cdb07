"""How long sends took to go on is told of the slowest; what was acked without being stored is told, too."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.journal import Entry, Journal
from tests.chaos.recovery import recoveries_of
from tests.chaos.scene import Silence
from tests.chaos.second_opinion import Ack
from tests.chaos.summary import check_silences

LINES = frozenset({"r1", "r2", "g/dock"})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.jsonl")
    yield journal
    journal.close()


def fault(journal: Journal, *, limit_s: float = 15.0, each: bool = True) -> Entry:
    return journal.note("fault", "kill", limit_s=limit_s, each=each)


def acks(t: float, *told: tuple[float, float, str]) -> list[Ack]:
    """Return acks in one conversation: asked for and come so long after a moment, and to whom."""
    return [Ack(t + came_s, t + asked_s, client, "g/dock") for asked_s, came_s, client in told]


def test_the_slowest_counts(journal: Journal) -> None:
    entry = fault(journal)
    told = acks(entry.t, (1.0, 2.0, "r1"), (1.0, 9.0, "r2"), (3.0, 4.0, "r1"))
    [recovery] = recoveries_of(journal, told, LINES, shown={})
    assert recovery.took_s == 9.0
    assert not journal.of("finding")


def test_what_was_asked_for_before_tells_nothing(journal: Journal) -> None:
    entry = fault(journal)
    told = acks(entry.t, (-1.0, 0.5, "r1"), (1.0, 3.0, "r1"), (-1.0, 0.5, "r2"), (1.0, 2.0, "r2"))
    [recovery] = recoveries_of(journal, told, LINES, shown={})
    assert recovery.took_s == 3.0
    assert recovery.slowest == "r1"


def test_what_was_asked_for_before_and_took_long_tells(journal: Journal) -> None:
    entry = fault(journal)
    told = acks(entry.t, (-1.0, 5.0, "r1"), (7.0, 7.5, "r1"), (1.0, 2.0, "r2"))
    [recovery] = recoveries_of(journal, told, LINES, shown={})
    assert recovery.took_s == 5.0


def test_who_is_too_late_is_named(journal: Journal) -> None:
    entry = fault(journal)
    recoveries_of(journal, acks(entry.t, (1.0, 2.0, "r1"), (1.0, 16.0, "r2")), LINES, shown={})
    [finding] = journal.of("finding")
    assert "first ack of r2 16.00 s after it" in finding.text


def test_who_never_goes_on_is_a_finding(journal: Journal) -> None:
    entry = fault(journal)
    [recovery] = recoveries_of(journal, acks(entry.t, (1.0, 2.0, "r1")), LINES, shown={})
    assert recovery.took_s == math.inf
    assert journal.of("finding")


def test_who_is_shown_nothing_is_too_late_as_well(journal: Journal) -> None:
    entry = fault(journal)
    told = acks(entry.t, (1.0, 2.0, "r1"), (1.0, 2.0, "r2"))
    shown = {"r1": [entry.t + 2.0], "r2": [entry.t + 0.1, entry.t + 20.0], "other": []}
    [recovery] = recoveries_of(journal, told, LINES, shown=shown)
    assert (recovery.took_s, recovery.slowest) == (20.0, "r2, shown")


def test_where_one_ack_is_enough_the_first_counts(journal: Journal) -> None:
    entry = fault(journal, each=False)
    told = acks(entry.t, (-1.0, 0.5, "r1"), (1.0, 16.0, "r2"))
    [recovery] = recoveries_of(journal, told, LINES, shown={})
    assert recovery.took_s == 0.5


@pytest.mark.parametrize(
    ("asked_s", "came_s", "count"),
    [(1.0, 2.0, 1), (-1.0, 2.0, 0), (1.0, 6.0, 0), (6.0, 7.0, 0)],
    ids=["within", "asked for before", "acked behind it", "behind it"],
)
def test_what_is_asked_for_while_nothing_can_be_stored_must_not_be_acked_then(
    journal: Journal, asked_s: float, came_s: float, count: int
) -> None:
    t = journal.began_s
    check_silences([Silence("kill", t, t + 5.0)], acks(t, (asked_s, came_s, "r1")), journal)
    assert len(journal.of("finding")) == count


def test_what_was_stored_before_may_be_acked_while_nothing_can_be_stored(journal: Journal) -> None:
    t = journal.began_s
    again = Ack(t + 2.0, t + 1.0, "r1", "g/dock", is_dup=True)
    check_silences([Silence("kill", t, t + 5.0)], [again], journal)
    assert not journal.of("finding")
