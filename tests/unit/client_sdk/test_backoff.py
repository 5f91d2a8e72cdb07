"""When a robot comes back: how long it waits, and what the server's words change."""

import random

import pytest

from client_sdk.backoff import (
    STABLE_S,
    TOLD_MAX_MS,
    TOLD_SPREAD_S,
    UNANSWERED_SPREAD_S,
    Backoff,
    Reconnect,
)
from client_sdk.errors import Refused, StayAway
from imserver.protocol.errors import CloseCode
from imserver.protocol.server_frames import Bye

BASE_S, CAP_S = 0.2, 10.0


def reconnect(seed=1):
    return Reconnect(Backoff(BASE_S, CAP_S, random.Random(seed)))


def waits(count, code=1006):
    """The waits of one robot that fails again and again."""
    robot = reconnect()
    return [robot.after(code, "", 0.0)[1] for _ in range(count)]


def test_waits_grow_up_to_the_cap_and_no_further():
    bounds = [min(CAP_S, BASE_S * 2**attempt) for attempt in range(200)]
    assert all(0 <= wait <= bound for wait, bound in zip(waits(200), bounds, strict=True))
    assert max(waits(200)) > CAP_S / 2


def test_robots_that_fail_together_come_back_all_over_the_time_that_they_may_take():
    firsts = []
    for seed in range(1_000):
        robot = reconnect(seed)
        for _ in range(5):
            robot.after(1006, "", 0.0)
        firsts.append(robot.after(1006, "", 0.0)[1])
    bound = BASE_S * 2**5
    tenths = [sum(int(10 * wait / bound) == tenth for wait in firsts) for tenth in range(10)]
    assert min(tenths) > 60


def test_a_session_that_held_makes_waits_small_again():
    robot = reconnect()
    for _ in range(20):
        robot.after(1006, "", 0.0)
    robot.opened(0.0)
    _, wait = robot.after(1006, "", STABLE_S)
    assert wait <= BASE_S


def test_who_is_told_when_to_come_waits_that_long_and_at_most_twice():
    robot = reconnect()
    for _ in range(20):
        robot.told(Bye(CloseCode.DRAINING, "", 4_000))
        _, wait = robot.after(1006, "", 0.0)
        assert 4.0 <= wait <= 8.0


@pytest.mark.parametrize("told_ms", [TOLD_MAX_MS + 1, 2**53 - 1])
def test_a_server_that_says_for_ever_is_asked_again_after_an_hour(told_ms):
    robot = reconnect()
    robot.told(Bye(CloseCode.DRAINING, "", told_ms))
    _, wait = robot.after(1006, "", 0.0)
    assert TOLD_MAX_MS / 1000 <= wait <= TOLD_MAX_MS / 1000 + CAP_S


def test_a_server_that_always_says_at_once_is_not_hammered():
    robot = reconnect()
    told = []
    for _ in range(200):
        robot.told(Bye(CloseCode.OVERLOADED, "", 0))
        told.append(robot.after(1006, "", 0.0)[1])
    assert sum(told[-100:]) / 100 > TOLD_SPREAD_S / 4


def test_those_who_were_told_the_same_whole_second_come_all_over_it():
    comes = []
    for seed in range(1_000):
        robot = reconnect(seed)
        robot.turned_away(3)
        comes.append(robot.after(CloseCode.OVERLOADED, "", 0.0)[1])
    assert all(3.0 <= wait <= 4.0 + BASE_S for wait in comes)
    tenths = [
        sum(3 + tenth / 10 <= wait < 3.1 + tenth / 10 for wait in comes) for tenth in (2, 5, 8)
    ]
    assert min(tenths) > 60


def test_robots_that_got_no_answer_in_time_do_not_hurry_back():
    waits_s = []
    for seed in range(1_000):
        robot = reconnect(seed)
        robot.unanswered = True
        waits_s.append(robot.after(1006, "", 0.0)[1])
    assert max(waits_s) <= UNANSWERED_SPREAD_S
    tenths = [
        sum(int(10 * w / UNANSWERED_SPREAD_S) == tenth for w in waits_s) for tenth in range(10)
    ]
    assert min(tenths) > 60
    assert robot.after(1006, "", 0.0)[1] <= 2 * BASE_S, "it counts for one attempt"


def test_a_wait_counts_for_one_connection_only():
    robot = reconnect()
    robot.turned_away(60)
    robot.after(CloseCode.OVERLOADED, "", 0.0)
    _, wait = robot.after(1006, "", 0.0)
    assert wait < CAP_S


@pytest.mark.parametrize("code", [4300, 4301, 4399])
def test_who_is_told_to_stay_away_does(code):
    _, outcome = reconnect().after(code, "replaced", 0.0)
    assert isinstance(outcome, StayAway)


def test_the_goodbye_counts_and_not_how_the_connection_then_ends():
    robot = reconnect()
    robot.told(Bye(CloseCode.REPLACED, "newer session", None))
    assert isinstance(robot.after(1006, "", 0.0)[1], StayAway)


def test_who_must_prove_itself_tries_once_more_and_is_then_refused():
    robot = reconnect()
    assert isinstance(robot.after(CloseCode.UNAUTHENTICATED, "", 0.0)[1], float)
    assert isinstance(robot.after(CloseCode.UNAUTHENTICATED, "", 0.0)[1], Refused)


def test_a_close_that_asks_for_nothing_is_followed_at_once_the_first_time_only():
    assert waits(1, code=4000) == [0.0]
    assert waits(2, code=4000)[1] > 0.0
