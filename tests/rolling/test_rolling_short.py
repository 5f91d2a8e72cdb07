"""A short rolling restart: all three nodes once, robots behind a load balancer, and the judge."""

import pytest

from tests.mongo_server import MongoSet
from tests.rolling.roll import Plan, run

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


def test_all_nodes_are_restarted_under_load_and_no_send_fails(tmp_path, mongo_set: MongoSet):
    plan = Plan(robots=8, groups=3, rate=60.0, rounds=1, pause_s=0.5)
    outcome = run(plan, tmp_path, mongo=mongo_set)
    assert [restart.status for restart in outcome.restarts] == [0, 0, 0]
    assert outcome.failures == []
    assert outcome.verified is not None
    assert outcome.verified.clean, outcome.verified.to_text()
    assert outcome.acked > 0
    assert outcome.connections > plan.robots, "robots were seen off and came back"
