"""The pace at which a device may change hands."""

from imserver.access import takeovers as module
from imserver.access.takeovers import AT_ONCE, EVERY_S, WAIT_MAX_S, Takeovers
from tests.unit.logic.hand_clock import HandClock


def test_a_few_takeovers_are_free() -> None:
    takeovers = Takeovers(HandClock())
    assert [takeovers.wait_s("r1", "main") for _ in range(AT_ONCE)] == [0.0] * AT_ONCE


def test_those_after_them_wait_for_their_turn_and_too_many_are_sent_away() -> None:
    takeovers = Takeovers(HandClock())
    for _ in range(AT_ONCE):
        takeovers.wait_s("r1", "main")
    waits = [takeovers.wait_s("r1", "main") for _ in range(20)]
    assert waits[0] == EVERY_S
    assert min(waits[1:]) == max(waits[1:]) > WAIT_MAX_S, "who is sent away costs others no turn"


def test_with_time_a_device_may_change_hands_again() -> None:
    clock = HandClock()
    takeovers = Takeovers(clock)
    for _ in range(AT_ONCE):
        takeovers.wait_s("r1", "main")
    clock.s += EVERY_S
    assert takeovers.wait_s("r1", "main") == 0.0
    clock.s += 100 * EVERY_S
    assert [takeovers.wait_s("r1", "main") for _ in range(AT_ONCE)] == [0.0] * AT_ONCE


def test_one_device_holds_up_no_other() -> None:
    takeovers = Takeovers(HandClock())
    for _ in range(100):
        takeovers.wait_s("r1", "main")
    assert takeovers.wait_s("r1", "arm") == takeovers.wait_s("r2", "main") == 0.0


def test_what_was_long_ago_is_forgotten() -> None:
    clock = HandClock()
    takeovers = Takeovers(clock)
    for number in range(10 * module._FORGET_AT):
        takeovers.wait_s("r1", f"device{number}")
        clock.s += 2 * EVERY_S
    assert len(takeovers._due_s) <= module._FORGET_AT
