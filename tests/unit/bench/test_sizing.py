import re

import msgspec
import pytest

from bench import publish
from bench.results import Results
from bench.sizing.costs import PARTS, Work, costs_of, fitted, least_squares, observations, used
from bench.sizing.model import (
    CONNECTIONS_MAX,
    Load,
    commits_per_s,
    need_of,
    nodes_of_a_group,
    sends_until,
)
from bench.sizing.page import section
from bench.sizing.simulation import checks, commit
from tests.unit.bench.made import run

TRUE = {
    "nodes": {
        "nodes": 9_000.0,
        "events": 20.0,
        "commits": 700.0,
        "deliveries": 3.0,
        "hints_in": 40,
    },
    "primary": {"idle": 8_000.0, "events": 18.0, "commits": 600.0},
    "secondaries": {"idle": 12_000.0, "events": 30.0, "commits": 900.0},
    "redis": {"idle": 3_000.0, "hints_out": 9.0, "hints_in": 4.0},
}
RUNS = (
    ("cluster-sends", 7_000, 250.0, 0),
    ("cluster-one-group", 4_000, 90.0, 0),
    ("cluster-trickle", 30, 1.0, 6),
    ("cluster-fanout", 300, 1.3, 6),
)
PEERS = {"imserver, 1 node": 1, "imserver, 2 nodes": 2, "imserver, 3 nodes": 3}


def cluster_run(scenario, peer, sends, batch, members):
    """Return a run of a cluster that costs exactly what `TRUE` says."""
    nodes = PEERS[peer]
    work = Work(nodes, sends, sends / batch, sends * members, sends / 2, sends / 2 * (nodes - 1))
    return run(
        scenario,
        peer,
        sends_per_s=sends,
        batch=batch,
        deliveries_per_s=work.deliveries,
        hints_per_send=0.5,
        hints_in_per_send=0.5 * (nodes - 1),
        event_bytes=400.0,
        hint_bytes=500.0,
        commit_ms=10.0,
        **{f"cpu_us_{part}": used(TRUE[part], work) / sends for part in PARTS},
    )


@pytest.fixture
def results(tmp_path):
    found = Results(tmp_path)
    for scenario, *sizes in RUNS:
        for peer in PEERS:
            found.add(cluster_run(scenario, peer, *sizes))
    return found


def test_costs_are_found_again_in_runs_that_were_made_of_them(results):
    costs = costs_of(results)
    for part, true in TRUE.items():
        assert getattr(costs, part) == pytest.approx(true, rel=0.02)


def test_a_cost_below_zero_is_not_found():
    assert least_squares([[1.0, 0.0], [1.0, 1.0]], [2.0, 1.0]) == pytest.approx([1.5, 0.0])


def test_runs_of_two_nodes_are_compared_with_and_not_fitted_to(results):
    costs = costs_of(results)
    results.add(cluster_run("cluster-sends", "imserver, 2 nodes", 1, 1.0, 0))
    assert costs_of(results) == costs
    assert {one.nodes for one in observations(results)} == {1, 2, 3}


def test_clusters_that_were_not_measured_are_missed(tmp_path):
    with pytest.raises(ValueError, match="make bench-cluster"):
        costs_of(Results(tmp_path))


@pytest.mark.parametrize("checked", list(checks(0.02)), ids=lambda checked: checked.what)
def test_the_model_says_what_the_simulation_counts(checked):
    assert checked.deviation == pytest.approx(0, abs=0.03)


def test_a_node_that_is_asked_for_more_commits_larger_batches_not_more_often():
    calm, busy = (commit(rate, 0.02, seconds=20, seed=7) for rate in (500, 5_000))
    assert busy.batch == pytest.approx(10 * calm.batch, rel=0.05)
    assert busy.commits_per_s == pytest.approx(calm.commits_per_s, rel=0.02)
    assert commits_per_s(5_000, 0.02) == pytest.approx(50, rel=0.01)


def test_a_group_is_on_no_more_nodes_than_it_has_members():
    assert nodes_of_a_group(10, 1) == 1
    assert nodes_of_a_group(10, 100_000) == pytest.approx(10, rel=0.001)


def test_what_is_needed_grows_with_the_load_and_is_enough(results):
    costs = costs_of(results)
    needs = [need_of(Load(1_000_000, 100_000, rate), costs) for rate in (0.01, 0.1, 1.0)]
    assert needs[0].nodes <= needs[1].nodes < needs[2].nodes
    assert needs[0].nodes * CONNECTIONS_MAX >= 1_000_000
    for need in needs:
        assert need.node_cores <= need.nodes
    assert sends_until(costs, "redis", 1, Load(1_000_000, 100_000, 1.0)) < 1e6 / 4.0


def test_a_load_that_no_number_of_nodes_carries_is_said_so(results):
    costs = msgspec.structs.replace(costs_of(results), nodes={"nodes": 2e6})
    with pytest.raises(ValueError, match="no number of nodes"):
        need_of(Load(10, 1, 1.0), costs)


def test_the_page_shows_each_run_beside_the_model(results):
    text = section(results)
    for scenario, *_ in RUNS:
        assert len(re.findall(f"`{scenario}`", text)) == len(PEERS)
    assert "(+0%)" in text or "(-0%)" in text
    assert "1,000,000 robots in 100,000 groups" in text


def test_results_of_clusters_go_to_their_own_page(results, tmp_path, monkeypatch):
    pages = {}
    for name in ("PAGE", "SCALING"):
        pages[name] = tmp_path / f"{name}.md"
        pages[name].write_text(f"# Page\n\n{publish.BEGIN}\n{publish.END}\n")
        monkeypatch.setattr(publish, name, pages[name])
    assert publish.main([str(results.folder)]) == 0
    assert "The model beside 1, 2 and 3 nodes" in pages["SCALING"].read_text()
    assert "model" not in pages["PAGE"].read_text()


def test_a_part_of_a_cluster_is_fitted_by_what_it_depends_on(results):
    assert set(fitted(observations(results), "redis")) == {"idle", "hints_out", "hints_in"}
