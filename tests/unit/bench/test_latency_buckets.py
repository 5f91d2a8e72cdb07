import pytest

from bench.histogram import curve, merged, percentile_ms, upper_us


def test_percentiles_are_those_of_the_counted_durations():
    buckets = [(number, 1) for number in range(1, 1_001)]
    found = [percentile_ms(buckets, percent) for percent in (50, 99, 99.9, 100)]
    assert found == [0.5, 0.99, 0.999, 1.0]


def test_wide_buckets_are_read_by_their_longest_duration():
    assert upper_us(2_047) == 2_047
    assert upper_us(2_048) == 2_049
    assert percentile_ms([(2_048, 1)], 50) == 2.049


def test_merging_adds_counts():
    assert merged([[(1, 2), (7, 1)], [(7, 3)]]) == [(1, 2), (7, 4)]


def test_a_curve_falls_from_one_to_nothing():
    points = list(curve([(10, 9), (1_000, 1)]))
    assert points == [(0.01, pytest.approx(0.1)), (1.0, 0.0)]


def test_nothing_counted_has_no_percentiles():
    assert percentile_ms([], 99) == 0
