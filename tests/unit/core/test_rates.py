"""Rates: what is let through against a count by hand, and what is remembered of whom."""

from hypothesis import given
from hypothesis import strategies as st

from imserver.core.rates import Rate, Rates

TEN_A_SECOND = Rate(10, 1_000)


def rates(*, burst_s: float = 2.0, keys_max: int = 100) -> Rates:
    return Rates(TEN_A_SECOND, burst_s=burst_s, keys_max=keys_max)


def test_a_burst_is_taken_at_once_and_then_one_unit_in_its_time() -> None:
    of = rates()
    assert [of.takes("a", 1, 0, 0.0) for _ in range(20)] == [0.0] * 20
    assert round(of.takes("a", 1, 0, 0.0), 9) == 0.1
    assert of.takes("a", 1, 0, 0.1) == 0.0
    assert of.takes("a", 1, 0, 0.1) > 0


def test_who_comes_after_the_wait_that_it_was_told_is_taken() -> None:
    of = rates()
    now_s = 5.0
    while not (wait_s := of.takes("a", 3, 0, now_s)):
        pass
    assert of.takes("a", 3, 0, now_s + wait_s / 2) > 0
    assert of.takes("a", 3, 0, now_s + wait_s) == 0.0


def test_units_and_bytes_are_both_limits() -> None:
    of = rates()
    assert of.charge("few and large", 1, 4_000, 0.0) == 2.0
    assert of.charge("many and small", 40, 40, 0.0) == 2.0
    assert of.charge("both", 40, 4_000, 0.0) == 2.0, "what comes at once takes the longer time"


def test_what_has_a_key_wait_for_too_long_is_not_counted() -> None:
    of = rates()
    assert of.charge("a", 50, 0, 0.0, wait_max_s=1.0) == 3.0
    assert of.wait_s("a", 0.0) == 1.0
    of.charge("a", 20, 0, 0.0)
    assert of.charge("a", 10, 0, 0.0, wait_max_s=1.0) == 4.0
    assert of.wait_s("a", 0.0) == 3.0, "and nothing is let off"


def test_one_key_is_nothing_to_another() -> None:
    of = rates()
    of.charge("a", 1_000, 0, 0.0)
    assert of.wait_s("a", 0.0) == 98.0
    assert of.takes("b", 1, 0, 0.0) == 0.0


def test_what_is_larger_than_the_burst_is_taken_when_nothing_is_owed() -> None:
    of = rates()
    assert of.takes("a", 1_000, 0, 0.0) == 0.0
    assert of.takes("a", 1_000, 0, 1.0) == 99.0
    assert of.takes("a", 1_000, 0, 100.0) == 0.0


def test_no_rate_is_no_limit_and_remembers_nobody() -> None:
    of = Rates(Rate(0, 0), burst_s=1.0)
    assert of.charge("a", 10**9, 10**12, 0.0) == 0.0
    assert len(of) == 0


def test_who_owes_nothing_is_forgotten_when_room_is_needed() -> None:
    of = rates(keys_max=10)
    for number in range(1_000):
        of.charge(f"key{number}", 1, 0, float(number))
        assert len(of) <= 10


def test_when_all_owe_those_are_remembered_who_owe_most() -> None:
    of = rates(keys_max=10)
    of.charge("flood", 10_000, 0, 0.0)
    for number in range(1_000):
        of.charge(f"key{number}", 1, 0, 0.0)
        assert len(of) <= 10
    assert of.wait_s("flood", 0.0) == 998.0


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 30)), max_size=60))
def test_in_no_time_more_is_taken_than_burst_and_rate_allow(
    comings: list[tuple[float, int]],
) -> None:
    of, now_s, taken = rates(), 100.0, []
    for after_s, units in comings:
        now_s += after_s
        if not of.takes("a", units, 0, now_s):
            taken.append((now_s, min(units, 20)))
    for index, (since_s, _) in enumerate(taken):
        for until, (until_s, _) in enumerate(taken[index:], index):
            units = sum(count for _, count in taken[index : until + 1])
            assert units <= 20 + (until_s - since_s) * 10 + 1e-6
