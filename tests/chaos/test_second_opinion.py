"""The second judge sees what must not be, and lets pass what may."""

from pathlib import Path
from typing import Any

import pytest

from imserver.core.membership_changes import body_of
from imserver.core.model import Added, Append, Created, MembershipChange, Removed
from imserver.data.directory import DATABASE_NAME
from imserver.data.sqlite.store import SqliteStore
from imserver.protocol.events import MEMBERS_ADDED, MEMBERS_REMOVED, MESSAGE, Role
from imserver.protocol.names import ConversationName, RobotName
from tests.chaos.raw_store import read_sqlite
from tests.chaos.second_opinion import Judge, Opinion

DOCK = ConversationName("g/dock")
R1, R2 = RobotName("r1"), RobotName("r2")
KINDS = {Created: "group_created", Added: MEMBERS_ADDED, Removed: MEMBERS_REMOVED}
HEAD = 7
"""1 creation, 2 and 3 messages, 4 removal of r2, 5 message, 6 return of r2, 7 message."""


def changed(cid: str, change: MembershipChange) -> Append:
    return Append(DOCK, 1, R1, cid, KINDS[type(change)], body_of(change), change=change)


def said(cid: str) -> Append:
    return Append(DOCK, 1, R1, cid, MESSAGE, b"\xc0")


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A store with one log of seven events."""
    store = await SqliteStore.open(tmp_path / DATABASE_NAME)
    events = [
        changed("make", Created({R1: Role.OWNER, R2: Role.MEMBER}, open=False)),
        said("a"),
        said("b"),
        changed("out", Removed((R2,))),
        said("c"),
        changed("in", Added((R2,), Role.MEMBER)),
        said("d"),
    ]
    for event in events:
        await store.append([event])
    await store.aclose()
    return tmp_path


async def trim(data: Path, below: int) -> None:
    store = await SqliteStore.open(data / DATABASE_NAME)
    await store.trim(DOCK, below, limit=100)
    await store.aclose()


class Story:
    """A history, record by record."""

    def __init__(self) -> None:
        self._judge = Judge()
        self._t = 0.0

    def note(self, op: str, client: str = "r2", **fields: Any) -> None:
        self._t += 1.0
        record = {"op": op, "t": self._t, "client": client, "session": f"{client}-1", "conv": DOCK}
        self._judge.take(record | fields)

    def acked(self, cid: str, seq: int) -> None:
        self.note("send", "r1", type="invoke", cid=cid)
        self.note("send", "r1", type="ok", cid=cid, seq=seq)

    def shown(self, *seqs: int, client: str = "r2") -> None:
        for seq in seqs:
            self.note("receive", client, seq=seq)

    def gap(self, first: int, last: int, *, why: str) -> None:
        fields: dict[str, Any] = {"from": first, "to": last, "why": why}
        self.note("gap", **fields)

    def drained(self, client: str = "r2") -> None:
        self.note("session_close", client, drained=True)

    def judged(self, data: Path) -> Opinion:
        return self._judge.judge(read_sqlite(data))


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_whole_history_is_clean(story, data):
    story.acked("a", 2)
    story.shown(*range(1, HEAD + 1), client="r1")
    story.drained("r1")
    assert story.judged(data).is_clean


def test_an_acked_event_that_is_not_there_is_lost(story, data):
    story.acked("elsewhere", 2)
    assert story.judged(data).lost == 1


async def test_what_retention_took_is_counted_apart(story, data):
    story.acked("a", 2)
    story.acked("d", 7)
    await trim(data, 5)
    opinion = story.judged(data)
    assert opinion.is_clean
    assert opinion.let_go == 1


def test_two_places_for_one_send_are_a_double(story, data):
    story.acked("a", 2)
    story.acked("a", 3)
    assert story.judged(data).doubled == 1


def test_a_robot_that_was_away_goes_on_with_its_return(story, data):
    story.shown(3, 4, 6, 7)
    story.drained()
    assert story.judged(data).is_clean


@pytest.mark.parametrize("seqs", [(3, 6), (4, 7), (1, 3), (3, 2), (2, 2)])
def test_any_other_jump_is_found(story, data, seqs):
    story.shown(*seqs)
    assert story.judged(data).reordered == 1


async def test_a_gap_that_retention_made_is_no_jump(story, data):
    await trim(data, 5)
    story.shown(1)
    story.gap(2, 4, why="retention")
    story.shown(5, 6, 7)
    assert story.judged(data).is_clean


def test_a_gap_over_what_is_still_there_is_found(story, data):
    story.gap(2, 4, why="retention")
    assert story.judged(data).gaps == 1


def test_a_robot_that_was_removed_may_be_told_that_the_log_is_not_for_it(story, data):
    story.shown(2, 3)
    story.gap(4, 5, why="no member")
    story.shown(6)
    assert story.judged(data).is_clean


def test_a_member_must_not_be_told_so(story, data):
    story.shown(1)
    story.gap(2, 2, why="no member")
    story.shown(3)
    assert story.judged(data).gaps == 1


def test_a_member_that_was_not_shown_the_end_is_found(story, data):
    story.shown(6)
    story.drained()
    assert story.judged(data).undelivered == 1
