"""Which node appends: the one that all agree on where that helps, and this one otherwise."""

import pytest

from imserver.core.rendezvous import preferred
from imserver.core.route_settings import Forward
from imserver.logic.appenders import AVOIDED_S, CONTENDED_S, CONVERSATIONS_MAX, Appenders
from imserver.protocol.names import ConversationName
from tests.unit.logic.hand_clock import HandClock

NAMES = frozenset({"one", "two", "three"})
CONVS = [ConversationName(f"g/group-{number}") for number in range(60)]


class Here:
    """Node ``one`` among others, and what it knows of them."""

    def __init__(self, forward: Forward) -> None:
        self.others = NAMES - {"one"}
        self.sees = True
        self.clock = HandClock()
        self.appenders = Appenders(
            "one", lambda: self.others, sees=lambda: self.sees, forward=forward, clock=self.clock
        )

    def choices(self) -> list[str]:
        return [self.appenders.elsewhere(conv) or "one" for conv in CONVS]


@pytest.fixture
def here() -> Here:
    return Here("always")


def agreed(*names: str) -> list[str]:
    return [preferred(conv, names) for conv in CONVS]


def test_all_come_to_the_choice_of_the_hash(here: Here) -> None:
    assert here.choices() == agreed("one", "two", "three")


def test_a_node_that_is_alone_or_cut_off_appends_itself(here: Here) -> None:
    here.sees = False
    assert here.choices() == ["one"] * len(CONVS)
    here.sees, here.others = True, frozenset()
    assert here.choices() == ["one"] * len(CONVS)


def test_who_comes_and_goes_counts_at_once(here: Here) -> None:
    here.others = frozenset({"two"})
    assert here.choices() == agreed("one", "two")
    here.others = frozenset({"two", "four"})
    assert here.choices() == agreed("one", "two", "four")


def test_who_does_not_answer_is_avoided_for_a_while_and_longer_each_time(here: Here) -> None:
    here.appenders.avoid("two")
    assert here.choices() == agreed("one", "three")
    here.clock.s += AVOIDED_S
    assert here.choices() == agreed("one", "two", "three")
    here.appenders.avoid("two")
    here.clock.s += AVOIDED_S
    assert here.choices() == agreed("one", "three")
    here.clock.s += AVOIDED_S
    assert here.choices() == agreed("one", "two", "three")
    here.appenders.trust("two")
    here.appenders.avoid("two")
    here.clock.s += AVOIDED_S
    assert here.choices() == agreed("one", "two", "three"), "an answer made good for all before"


def test_all_that_do_not_answer_are_avoided(here: Here) -> None:
    here.appenders.avoid("two")
    here.appenders.avoid("three")
    assert here.choices() == ["one"] * len(CONVS)


def test_a_conversation_counts_as_contended_for_a_while_after_a_place_was_lost() -> None:
    here = Here("contended")
    conv = next(conv for conv in CONVS if preferred(conv, NAMES) == "two")
    assert here.appenders.elsewhere(conv) is None
    here.appenders.note_contention(conv)
    assert here.appenders.elsewhere(conv) == "two"
    here.clock.s += CONTENDED_S / 2
    here.appenders.note_contention(conv)
    here.clock.s += CONTENDED_S / 2
    assert here.appenders.elsewhere(conv) == "two"
    here.clock.s += CONTENDED_S / 2
    assert here.appenders.elsewhere(conv) is None


def test_contended_conversations_are_remembered_within_a_bound() -> None:
    here = Here("contended")
    for number in range(CONVERSATIONS_MAX + 10):
        here.appenders.note_contention(ConversationName(f"g/{number}"))
    assert len(here.appenders._contended) == CONVERSATIONS_MAX


def test_nobody_is_asked_if_that_is_not_wanted() -> None:
    here = Here("never")
    for conv in CONVS:
        here.appenders.note_contention(conv)
    assert here.choices() == ["one"] * len(CONVS)
