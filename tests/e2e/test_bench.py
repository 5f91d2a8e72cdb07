"""The bench against real servers: it counts what is there, and does not lie about a server that stalls.

Peers that are not installed are left out, as the bench does it. Without Go there is no load generator.
"""

import os
from pathlib import Path

import msgspec
import pytest

from bench import generator
from bench.__main__ import main
from bench.generator import generate
from bench.histogram import percentile_ms
from bench.peers import BY_NAME
from bench.process import Place
from bench.results import Results
from bench.runner import order_for
from bench.scenarios import BY_NAME as SCENARIOS
from bench.sizing.costs import PARTS
from bench.task import Findings, Task

pytestmark = [
    pytest.mark.one_node(reason="the load generator is measured, with servers of its own"),
    pytest.mark.process,
    pytest.mark.timeout(180),
]

LOADS = {
    "fan-out at a rate": Task("fanout", members=5, rate=20),
    "fan-out flat out": Task("fanout", members=5, in_flight=8),
    "groups that overlap": Task("fanout", groups=6, members=2, robots=4, senders=2, rate=30),
    "sends": Task("sends", senders=3, in_flight=4),
    "sends spread over nodes": SCENARIOS["cluster-sends-10x10"].task,
    "direct lines": Task("direct", groups=5, rate=30),
    "mixed": Task("mixed", groups=2, members=3, senders=2, rate=20, signals=20),
    "catching up": Task("catchup", members=3, count=500, in_flight=20),
    "growth": Task("growth", senders=2, in_flight=4, steps=(50, 100)),
    "idle": Task("idle", count=20),
}
WHOLE = ("readers", "connections")
"""What loads count that end when all is done."""
SECONDS = 0.5
FAN_OUT = {"nats core", "mosquitto qos 0", "centrifugo", "python-socketio", "websockets broadcast"}


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    fault = generator.build()
    if generator.go() is None and fault:
        pytest.skip(fault)
    assert not fault


@pytest.fixture
def place() -> Place:
    return Place(core=min(os.sched_getaffinity(0)), nice=0)


def measure(name: str, task: Task, place: Place, directory: Path) -> Findings:
    peer = BY_NAME[name]
    short = msgspec.structs.replace(task, seconds=SECONDS, warm_up=0.1)
    with peer.start(directory, place) as server:
        found = generate(short, order_for(peer, server, task), place)
        found.counts |= server.tally()
        return found


@pytest.mark.parametrize("load", LOADS)
def test_a_load_counts_what_imserver_did_and_finds_nothing_wrong(load, place, tmp_path):
    found = measure("imserver", LOADS[load], place, tmp_path)
    assert found.void == ""
    assert found.behind or any(found.counts.get(key) for key in ("checked", *WHOLE))


def test_a_cluster_is_counted_by_its_parts_and_by_whether_a_message_crosses_nodes(place, tmp_path):
    task = Task("spread", groups=2, members=2, senders=2, rate=100)
    found = measure("imserver, 2 nodes", task, place, tmp_path)
    assert found.void == ""
    assert all(found.parts_cpu_s[part] > 0 for part in PARTS)
    within, across = (sum(n for _, n in found.histograms[of]) for of in ("within", "across"))
    assert within > 0
    assert across > 0
    assert 0 < found.counts["hints"] <= found.counts["redis_publishes"]
    assert found.counts["committed"] >= found.counts["answered"]


def test_robots_that_prove_a_key_are_let_in(place, tmp_path):
    found = measure("imserver, challenge", LOADS["idle"], place, tmp_path)
    assert found.void == ""
    assert found.counts["connections"] == 20


def peers_present() -> list[str]:
    present = [peer.name for peer in BY_NAME.values() if peer.missing() is None]
    return [name for name in present if not name.startswith(("imserver", "rabbitmq"))]


@pytest.mark.parametrize("name", peers_present())
def test_a_peer_that_is_installed_delivers_everything(name, place, tmp_path):
    load = "fan-out flat out" if name in FAN_OUT else "sends"
    found = measure(name, LOADS[load], place, tmp_path)
    assert found.void == ""
    assert found.counts["checked"] > 0


def test_a_server_that_stands_still_shows_in_the_latency(place, tmp_path):
    task = Task("fanout", members=5, rate=100, stall_seconds=0.2)
    found = measure("imserver", task, place, tmp_path)
    assert found.void == ""
    assert percentile_ms(found.histograms["delivery"], 99) > 150


def test_the_command_runs_scenarios_keeps_them_and_reports(tmp_path, capsys):
    arguments = ["--only", "sends-1x1", "--peer", "imserver", "--seconds", "0.3", "--patience", "0"]
    main([*arguments, "--rounds", "1", "--into", str(tmp_path)])
    main([*arguments, "--rounds", "2", "--into", str(tmp_path)])
    runs = Results(tmp_path).runs("sends-1x1", "imserver")
    assert [run.round for run in runs] == [1, 2]
    assert "1 sender × 1 unanswered" in (tmp_path / "report.md").read_text()
