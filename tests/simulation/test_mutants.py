"""Every mistake that is built in on purpose is found out."""

from itertools import chain

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.world import first_finding

SEEDS_MAX = 400


@pytest.mark.timeout(
    600
)  # a mutant whose seed has changed its meaning is looked for in all of them
@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_found_out(name, capsys):
    mutant = MUTANTS[name]
    with mutant.applied():
        found = first_finding(chain([mutant.seed], range(SEEDS_MAX)), rule=mutant.breaks)
    assert found is not None, f"{SEEDS_MAX} seeds did not notice that {mutant.story}"
    finding = next(f for f in found.findings if f.rule.startswith(mutant.breaks))
    with capsys.disabled():
        print(f"\n{name}: seed {found.plan.seed}: {finding.rule}", end=" ")
