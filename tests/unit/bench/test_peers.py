import pytest

from bench.peers import ALL, BY_NAME
from bench.scenario import Set
from bench.scenarios import ALL as SCENARIOS


def test_peers_have_names_of_their_own():
    assert len(BY_NAME) == len(ALL)


@pytest.mark.parametrize("peer", ALL, ids=lambda peer: peer.name)
def test_a_peer_says_what_it_is_or_what_is_missing(peer):
    if reason := peer.missing():
        assert "install" in reason
    else:
        assert any(digit in peer.version() for digit in "0123456789")
    assert all(isinstance(value, str) for value in peer.settings().values())


def test_a_program_that_is_not_there_is_missed_by_its_name(monkeypatch):
    monkeypatch.setattr("bench.peers.program.find", lambda _name: None)
    assert BY_NAME["nats core"].missing() == (
        "nats-server is not installed (make bench-setup installs it)"
    )


def test_every_scenario_names_peers_that_there_are():
    for scenario in SCENARIOS:
        for chosen in Set:
            assert set(scenario.peers_in(chosen)) <= set(BY_NAME)


def test_a_flat_out_load_takes_as_much_as_suits_the_peer():
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == "fanout-100-flat-out")
    for peer in (BY_NAME["imserver"], BY_NAME["nats core"]):
        assert scenario.task_for(peer, None).in_flight == peer.in_flight
