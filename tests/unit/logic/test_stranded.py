"""A node that cannot reach the store lets its robots go if another one can, and only then."""

import pytest

from imserver.core.errors import StoreUnavailable
from imserver.logic.stranded import Stranded
from imserver.route.attendance import LoneAttendance, NodeRecord
from tests.unit.logic.hand_clock import HandClock


class Told(LoneAttendance):
    """An attendance that shows what the test says of the neighbours, and what the node tells of itself."""

    def __init__(self, others: dict[str, int]) -> None:
        super().__init__(HandClock())
        self.others = others
        self.answers = 0
        self.about = lambda: NodeRecord("here", answers=self.answers)

    def count(self) -> None:
        self.answers += 1

    async def nodes(self) -> list[NodeRecord]:
        others = [NodeRecord(node, answers=count) for node, count in self.others.items()]
        return [*others, self.about()]


class Watch:
    """A node's watch, the store that it tries, and what it was told.

    Attributes:
        answers: the store does.
        hears: the route brings what others tell.
    """

    def __init__(self, **others: int) -> None:
        self.attendance = Told(others)
        self.answers = True
        self.hears = True
        self.changes: list[str] = []
        self.stranded = Stranded(
            self._probe,
            self.attendance,
            sees=lambda: self.hears,
            on_answer=self.attendance.count,
            on_stranded=lambda: self.changes.append("stranded"),
            on_rescued=lambda: self.changes.append("rescued"),
        )

    async def _probe(self) -> None:
        if not self.answers:
            raise StoreUnavailable("cut")

    async def look(self, times: int = 1, **others: int) -> None:
        """Look so many times; others have had so many answers by then."""
        self.attendance.others.update(others)
        for _ in range(times):
            await self.stranded.look()


@pytest.fixture
async def watch() -> Watch:
    watch = Watch(there=10)
    await watch.look(3)
    watch.answers = False
    await watch.look()
    return watch


async def test_what_the_store_has_answered_is_told_to_the_others(watch: Watch) -> None:
    assert watch.attendance.answers == 3


async def test_who_is_served_elsewhere_is_let_go(watch: Watch) -> None:
    await watch.look(there=12)
    assert watch.changes == ["stranded"]


async def test_where_nobody_is_served_nobody_is_sent_away(watch: Watch) -> None:
    await watch.look(5)
    await watch.look(there=11)  # an answer of the time before, told late
    assert watch.changes == []


async def test_a_node_that_came_meanwhile_is_compared_with_itself(watch: Watch) -> None:
    await watch.look(2, new=50)
    assert watch.changes == []


async def test_who_hears_of_nobody_counts_as_cut_off(watch: Watch) -> None:
    watch.hears = False
    await watch.look()
    assert watch.changes == ["stranded"]


async def test_one_failure_alone_sends_nobody_away(watch: Watch) -> None:
    watch.answers = True
    await watch.look(there=20)
    watch.answers = False
    await watch.look(there=30)
    assert watch.changes == []


async def test_when_the_store_answers_again_newcomers_are_let_in(watch: Watch) -> None:
    await watch.look(3, there=12)
    watch.answers = True
    await watch.look(2)
    assert watch.changes == ["stranded", "rescued"]
