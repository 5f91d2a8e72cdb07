import pytest

from bench.__main__ import Turn, tried
from bench.process import ServerFailed
from bench.runner import Runner
from bench.scenarios import BY_NAME
from tests.unit.bench.made import run

SENDS = "sends-10x10"


class Unstartable:
    """A peer that cannot be started."""

    name = "jetstream"
    in_flight = 1

    def __init__(self, problem):
        self.problem = problem
        self.starts = 0

    def start(self, directory, place):
        self.starts += 1
        raise self.problem


@pytest.mark.parametrize(
    "problem", [ServerFailed("it ended"), FileNotFoundError("epmd is not installed")]
)
def test_a_server_that_cannot_be_started_makes_its_run_void_and_no_more(tmp_path, problem):
    runner = Runner(tmp_path, nice=0, seconds=None)
    found = runner.run(BY_NAME[SENDS], Unstartable(problem), 1)
    assert str(problem) in found.void
    assert found.figures == {}


def test_a_void_run_istried_once_more(tmp_path):
    peer = Unstartable(ServerFailed("it ended"))
    turn = Turn(BY_NAME[SENDS], peer, 1)
    runs = list(tried(turn, Runner(tmp_path, nice=0, seconds=None), patience_s=0.0))
    assert [bool(each.void) for each in runs] == [True, True]
    assert peer.starts == 2


def test_a_run_that_counts_is_not_repeated(tmp_path, monkeypatch):
    runner = Runner(tmp_path, nice=0, seconds=None)
    monkeypatch.setattr(runner, "run", lambda *_: run(SENDS, "imserver", sends_per_s=1.0))
    turn = Turn(BY_NAME[SENDS], Unstartable(None), 1)
    assert len(list(tried(turn, runner, patience_s=0.0))) == 1
