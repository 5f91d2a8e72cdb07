"""The scenarios, one file a subject, and the list of those that ``bench.quick`` runs."""

from typing import Final

from bench.scenario import Scenario
from bench.scenarios import catchup, fanout, idle, sends

ALL: Final[tuple[Scenario, ...]] = (
    *sends.SCENARIOS,
    *fanout.SCENARIOS,
    *idle.SCENARIOS,
    *catchup.SCENARIOS,
)
BY_NAME: Final[dict[str, Scenario]] = {scenario.name: scenario for scenario in ALL}
