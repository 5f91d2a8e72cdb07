import pytest

from bench.load.histogram import Histogram


def of(*durations_us):
    histogram = Histogram()
    for duration_us in durations_us:
        histogram.record_ns(duration_us * 1_000)
    return histogram


@pytest.mark.parametrize("us", [1, 999, 2_047, 2_048, 4_097, 123_456, 1_000_000, 59_999_999])
def test_a_duration_comes_back_within_a_thousandth(us):
    assert of(us).percentile_ms(50) * 1_000 == pytest.approx(us, rel=0.001)


def test_percentiles_are_those_of_the_sorted_durations():
    histogram = of(*range(1, 1_001))
    assert [histogram.percentile_ms(percent) for percent in (50, 99, 99.9, 100)] == [
        0.5,
        0.99,
        0.999,
        1.0,
    ]


def test_what_is_longer_than_a_minute_counts_as_a_minute():
    assert of(10**9).percentile_ms(50) == pytest.approx(60_000, rel=0.001)


def test_merging_adds_counts():
    merged = of(1, 2, 3)
    merged.add(of(1_000, 2_000, 3_000))
    assert merged.total == 6
    assert merged.percentile_ms(50) == 0.003
    assert merged.percentile_ms(100) == pytest.approx(3, rel=0.001)


def test_nothing_recorded_has_no_percentiles():
    assert Histogram().percentile_ms(99) == 0
