import pytest

from bench.figures import doubts_of, fault_of, figures_of, is_behind
from bench.task import Findings, Task

AT_RATE = Task("fanout", members=10, rate=100)


def found(**others):
    values = {
        "seconds": 2.0,
        "server_cpu_s": 1.0,
        "generator_cpu_s": 0.5,
        "machine_cpu_s": 1.5,
        "counts": {"delivered": 2_000.0, "durable": 2_000.0},
        "histograms": {"delivery": [(100, 99), (5_000, 1)], "lag": [(50, 100)]},
    }
    return Findings(**{**values, **others})


def test_figures_are_counts_over_the_time_and_the_cpu_of_the_window():
    figures = figures_of(AT_RATE, found())
    assert figures["deliveries_per_s"] == 1_000
    assert figures["cpu_us_per_delivery"] == 500
    assert figures["generator_core"] == 25
    assert (figures["p50_ms"], figures["p99_ms"]) == (0.1, 0.1)
    assert figures["p999_ms"] > 1


def test_memory_of_a_connection_is_what_the_server_grew_by():
    idle = found(
        counts={"connections": 100, "bytes": 409_600, "idle_cpu_s": 0.1, "idle_seconds": 1}
    )
    figures = figures_of(Task("idle", count=100), idle)
    assert figures["kib_per_connection"] == 4
    assert figures["accepts_per_s"] == 50
    assert figures["idle_core"] == 10


def test_a_run_in_order_counts():
    assert fault_of(AT_RATE, found()) == ""


@pytest.mark.parametrize(
    ("fault", "others"),
    [
        ("lost", {"void": "message 7 was lost"}),
        ("71% of its core", {"generator_cpu_s": 1.42}),
        ("late", {"histograms": {"lag": [(2_047, 95), (8_000, 5)]}}),
        ("nothing happened", {"counts": {}}),
    ],
)
def test_a_run_that_cannot_be_believed_is_void(fault, others):
    assert fault in fault_of(AT_RATE, found(**others))


def test_a_server_is_behind_when_less_was_delivered_than_offered():
    assert not is_behind(AT_RATE, found())
    assert is_behind(AT_RATE, found(counts={"durable": 1_900.0, "delivered": 1_900.0}))


def test_others_on_the_machine_are_told():
    assert doubts_of(found()) == []
    assert "25%" in doubts_of(found(machine_cpu_s=2.0))[0]
