"""When a commit waits for more, and when it does not."""

from imserver.logic.gathering import GATHER_S, HASTY_COMMITS, MANY, Gathering


def answered(events: int, now_s: float = 0.0) -> Gathering:
    gathering = Gathering()
    gathering.on_answers(events, now_s)
    return gathering


def test_nothing_waits_before_the_first_answers_or_after_those_of_few() -> None:
    assert Gathering().wait_s(1, 0.0) is None
    assert answered(MANY - 1).wait_s(1, 0.0) is None


def test_after_many_answers_a_commit_waits_for_half_as_many_events() -> None:
    gathering = answered(100)
    assert gathering.wait_s(1, 0.0) == GATHER_S
    assert gathering.wait_s(49, GATHER_S / 2) == GATHER_S / 2
    assert gathering.wait_s(50, 0.0) == 0


def test_behind_the_half_it_waits_for_as_long_as_each_turn_brings_more() -> None:
    gathering = answered(100)
    assert [gathering.wait_s(events, 0.0) for events in (50, 70, 90, 90)] == [0, 0, 0, None]


def test_it_waits_no_longer_than_a_moment_after_the_answers() -> None:
    assert answered(100).wait_s(1, GATHER_S) is None
    assert answered(100).wait_s(60, GATHER_S) is None


def test_after_a_wait_in_vain_the_next_commits_wait_for_nobody() -> None:
    gathering = answered(100)
    gathering.give_up()
    assert gathering.wait_s(1, 0.0) is None
    waits = []
    for _ in range(HASTY_COMMITS + 1):
        gathering.on_answers(100, 0.0)
        waits.append(gathering.wait_s(1, 0.0))
    assert waits == [None] * HASTY_COMMITS + [GATHER_S]
