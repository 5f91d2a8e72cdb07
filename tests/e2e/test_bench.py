"""The bench against a real server: it counts what is there, and does not lie about a server that stalls."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.crowd import Crowd
from bench.load.histogram import Histogram
from bench.load.pace import Pace
from bench.scenario import Scenario, Task
from bench.scenarios.catchup import CatchUp
from bench.scenarios.fanout import FanOutAtRate, FanOutFlatOut
from bench.scenarios.idle import Idle
from bench.scenarios.sends import Sends
from bench.server import Place, Server

pytestmark = pytest.mark.process

SCENARIOS: list[Scenario] = [
    Sends("sends", "", senders=3, in_flight=4),
    Sends("echo", "", senders=3, in_flight=4, echo=True),
    FanOutFlatOut("flat", "", senders=2, in_flight=8, rate_reference=1, cpu_reference=1),
    FanOutAtRate("rate", "", rate=20, cpu_reference=1),
    Idle("idle", "", 40, challenged=False),
    Idle("challenge", "", 40, challenged=True),
    CatchUp("catchup", "", 3_000, 64, rate_reference=1),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    core = min(os.sched_getaffinity(0))
    with Server(tmp_path, place=Place(core, nice=0)) as server:
        yield server
        server.stop()


def task_for(server: Server, *, seconds: float = 0.5) -> Task:
    return Task(
        scenario="",
        port=server.port,
        server_pid=server.pid,
        data=str(server.data),
        seconds=seconds,
        window=64,
    )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_finds_every_figure_it_promises_and_nothing_lost(server, scenario):
    found = scenario.run(task_for(server))
    assert found.void is None
    assert set(found.figures) == {figure.key for figure in scenario.figures}


def test_a_server_that_stands_still_for_half_a_second_shows_in_the_latency(server):
    crowd = Crowd(task_for(server), senders=1, readers=5)
    crowd.wait_joined()
    latency = Histogram()
    crowd.record(acks=None, deliveries=latency)
    pace = Pace(crowd.loop, crowd.senders[0], rate=100)
    crowd.loop.run(seconds=0.5)
    os.kill(server.pid, signal.SIGSTOP)
    crowd.loop.run(seconds=0.5)
    os.kill(server.pid, signal.SIGCONT)
    crowd.loop.run(seconds=0.5)
    pace.stop()
    crowd.drain()
    crowd.close()
    assert latency.percentile_ms(99) > 400
    assert latency.percentile_ms(75) > 100
