"""The inputs that are mutated: those that had a new outcome, and some of the others."""

import random
from typing import Final

from tests.fuzz.given import Input, Outcome

KEPT_MAX: Final = 2_000
_KEPT_ANYWAY_IN: Final = 200


class Pool:
    """Inputs of one target; bounded, and the same for the same dice.

    Attributes:
        outcomes: everything that became of inputs, by variant.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._inputs: list[Input] = []
        self.outcomes: set[tuple[str, Outcome]] = set()

    def __len__(self) -> int:
        return len(self._inputs)

    def any(self) -> Input:
        """Return one of the inputs."""
        return self._dice.choice(self._inputs)

    def learn(self, given: Input, outcome: Outcome) -> None:
        """Take note of what became of an input."""
        key = (given.variant, outcome)
        is_new = key not in self.outcomes and len(self.outcomes) < KEPT_MAX
        if is_new:
            self.outcomes.add(key)
        if is_new or self._dice.randrange(_KEPT_ANYWAY_IN) == 0:
            self._keep(given)

    def _keep(self, given: Input) -> None:
        if len(self._inputs) < KEPT_MAX:
            self._inputs.append(given)
        else:
            self._inputs[self._dice.randrange(KEPT_MAX)] = given
