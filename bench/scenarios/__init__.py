"""The scenarios, one file a subject, and the list of all."""

from typing import Final

from bench.scenario import Scenario
from bench.scenarios import catchup, cluster, fanout, groups, growth, honesty, idle, sends

ALL: Final[tuple[Scenario, ...]] = (
    *fanout.SCENARIOS,
    *sends.SCENARIOS,
    *groups.SCENARIOS,
    *idle.SCENARIOS,
    *catchup.SCENARIOS,
    *growth.SCENARIOS,
    *honesty.SCENARIOS,
    *cluster.SCENARIOS,
)
BY_NAME: Final[dict[str, Scenario]] = {scenario.name: scenario for scenario in ALL}
