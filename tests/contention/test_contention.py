"""Nodes that all append to one conversation at once, for a few seconds: the long form is ``make contend``."""

from pathlib import Path

import pytest

from tests.contention.run import Plan, carry_out
from tests.mongo_server import MongoSet
from tests.redis_server import redis_process

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


def test_nodes_that_all_append_at_once_make_one_order(tmp_path: Path, mongo_set: MongoSet) -> None:
    with redis_process() as redis:
        result = carry_out(Plan(2.0, str(tmp_path)), store=mongo_set.url(), redis=redis)
    assert result.findings == []
    assert result.acked > 0
    assert result.counts["retries"] > 0, "they took each other's places"
    assert result.counts["forwarded"] == 0


def test_whoever_is_asked_to_append_may_die_stand_still_or_be_cut_off(
    tmp_path: Path, mongo_set: MongoSet
) -> None:
    with redis_process() as redis:
        plan = Plan(
            0.5,
            str(tmp_path),
            nodes=3,
            robots=2,
            forward="always",
            faults=("redis", "pause", "kill"),
            fault_s=0.1,
        )
        result = carry_out(plan, store=mongo_set.url(), redis=redis)
    assert result.findings == []
    assert result.counts["forwarded"] > 0
    assert result.counts["fallen_back"] > 0
