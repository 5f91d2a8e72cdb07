import pytest

from bench.claims import ALL, NOT_RUN, judged
from bench.plots import draw
from bench.report import report
from bench.results import Results
from bench.scenario import Set
from bench.scenarios import ALL as SCENARIOS
from bench.scenarios import BY_NAME
from tests.unit.bench.made import run

FLAT = "fanout-100-flat-out"


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


def verdict_on(results, words):
    return next(verdict for verdict in judged(results) if words in verdict.claim)


@pytest.mark.parametrize(("ours", "holds"), [(130.0, True), (110.0, False)])
def test_a_claim_is_a_ratio_of_medians(results, ours, holds):
    results.add(run(FLAT, "imserver", deliveries_per_s=ours))
    results.add(run(FLAT, "nats core", deliveries_per_s=100.0))
    verdict = verdict_on(results, "deliveries_per_s at least 1.2 × nats core")
    assert verdict.holds is holds
    assert verdict.found.startswith(f"{ours / 100:.2f} ×")


def test_a_ratio_is_told_with_its_spread_over_the_rounds(results):
    for number, ours, theirs in ((1, 120.0, 100.0), (2, 150.0, 100.0), (3, 90.0, 90.0)):
        results.add(run(FLAT, "imserver", number, deliveries_per_s=ours))
        results.add(run(FLAT, "nats core", number, deliveries_per_s=theirs))
    verdict = verdict_on(results, "deliveries_per_s at least 1.2 × nats core")
    assert verdict.found == "1.20 ×, by round 1.00 to 1.50 (120 to 100)"


def test_a_claim_against_a_peer_that_was_not_there_is_open(results):
    results.add(run(FLAT, "imserver", deliveries_per_s=1.0))
    results.add(run(FLAT, "nats core", void="2 deliveries are missing"))
    assert verdict_on(results, "deliveries_per_s at least 1.2 × nats core").holds is None
    assert "2 deliveries" in verdict_on(results, "deliveries_per_s at least 1.2 × nats core").found
    assert verdict_on(results, "0.5 × centrifugo").found == NOT_RUN


def test_growth_is_the_last_point_against_the_first(results):
    curve = [
        {"events": n, "cpu_us_per_send": us, "sends_per_s": 1.0} for n, us in ((1, 10), (9, 14))
    ]
    results.add(run("growth-log", "imserver", curve=curve))
    verdict = verdict_on(results, "growth-log")
    assert (verdict.holds, verdict.found[:6]) == (False, "1.40 ×")


def test_the_report_names_what_was_left_out_void_or_behind(results):
    results.add(run(FLAT, "imserver", deliveries_per_s=1234.0))
    results.add(run(FLAT, "nats core", void="a message was lost"))
    results.add(run("fanout-100-at-2000", "mosquitto qos 0", behind=True, p99_ms=5.0))
    results.add_facts({"machine": {"cpu": "two cores"}})
    text = report(results, ["rabbitmq-server is not installed"])
    assert "**Left out: rabbitmq-server is not installed.**" in text
    assert "void: a message was lost" in text
    assert "**falls behind**" in text
    assert "| imserver | 1,234 |" in text
    assert "cpu two cores" in text


def test_plots_are_drawn_of_whatever_was_run(results):
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    for peer in ("imserver", "nats core"):
        for rate in (50, 200):
            histograms = {"delivery": [(5, 2), (9, 1)]}
            figures = {"cpu_us_per_delivery": 3.0, "histograms": histograms}
            results.add(run(f"fanout-100-at-{rate}", peer, **figures))
    names = {path.name for path in draw(results)}
    assert {"cost-over-rate.png", "fanout-100-at-50.png"} <= names
    assert all((results.folder / name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_every_claim_is_about_a_scenario_whose_peers_take_part():
    for claim in ALL:
        peers = {peer for chosen in Set for peer in BY_NAME[claim.scenario].peers_in(chosen)}
        ours = getattr(claim, "ours", "imserver")
        assert {ours, getattr(claim, "peer", ours)} <= peers


def test_scenarios_have_names_of_their_own_and_known_peers():
    assert len(BY_NAME) == len(SCENARIOS)
    for scenario in SCENARIOS:
        everybody = {peer for chosen in Set for peer in scenario.peers_in(chosen)}
        assert everybody, scenario.name
