from dataclasses import dataclass

from bench.report import report, table
from bench.scenario import Figure, Findings


@dataclass(frozen=True)
class Made:
    name: str = "made"
    title: str = "A made-up scenario"
    figures: tuple[Figure, ...] = (
        Figure("speed", "m/s", "more", 10),
        Figure("noise", "dB", "less"),
    )

    def run(self, task):
        raise NotImplementedError


def found(speed, **others):
    return Findings(figures={"speed": speed, "noise": 1.0}, **others)


def test_the_median_is_set_against_the_reference():
    summary = report(Made(), [found(4.0), found(30.0), found(5.0)]).figures["speed"]
    assert (summary.median, summary.least, summary.most) == (5.0, 4.0, 30.0)
    assert summary.ratio == 0.5


def test_a_void_round_counts_for_nothing_and_is_named():
    made = report(Made(), [found(4.0), Findings(void="an event was lost")])
    assert made.figures["speed"].median == 4.0
    assert "round 2 is VOID: an event was lost" in table([made])


def test_a_scenario_without_a_valid_round_has_no_figures():
    made = report(Made(), [Findings(void="refused")])
    assert made.figures == {}
    assert "VOID" in table([made])


def test_doubts_about_a_round_are_printed():
    assert "round 1: the host took away" in table(
        [report(Made(), [found(1.0, flags=["the host took away 20% of a core"])])]
    )
