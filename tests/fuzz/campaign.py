"""A campaign: so many inputs for a target, watched; what fails is shrunk."""

import gc
import random
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from tests.fuzz.given import Input, Target
from tests.fuzz.pool import Pool
from tests.fuzz.shrinking import shrunk
from tests.fuzz.watch import Stopwatch, begin_input, hangs_are_told, memory_bytes

MADE_OF_TEN: Final = 3
"""Of ten inputs, so many are made anew; the others are mutated."""

CHECKED_TOGETHER: Final = 100
"""The timer for hangs is set once for so many inputs: setting it costs as much as reading a small one."""

GROWTH_MAX: Final = 24 * 1024 * 1024
"""What memory may grow by after a tenth of a campaign: caches and pools fill up at the beginning."""

MARKS: Final = (0.1, 0.5, 1.0)


class Finding(Struct, frozen=True):
    """A breach, and the smallest input that shows it."""

    target: str
    seed: int
    number: int
    given: Input
    error: str


class Account(Struct):
    """What a campaign came to.

    Attributes:
        inputs: how many were read, in ``seconds``.
        outcomes: different ones.
        longest_s: processor time of the slowest input.
        memory: resident bytes after a tenth, half and all of the inputs.
        finding: the first breach; the campaign ended with it.
    """

    target: str
    inputs: int = 0
    seconds: float = 0.0
    outcomes: int = 0
    longest_s: float = 0.0
    memory: list[int] = []
    finding: Finding | None = None

    @property
    def grew(self) -> int:
        """By how many bytes memory grew after its first tenth."""
        return self.memory[-1] - self.memory[0] if self.memory else 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found, and memory stayed level."""
        return self.finding is None and self.grew <= GROWTH_MAX


def run(
    target: Target,
    inputs: int,
    *,
    seed: int,
    tell: Callable[[Account], None] = lambda _: None,
    on_batch: Callable[[], None] = lambda: None,
) -> Account:
    """Feed a target with inputs; return what came of it. The same seed gives the same inputs.

    ``tell`` is called at each mark, ``on_batch`` before each hundred inputs.
    """
    campaign = _Campaign(target, seed)
    account, began = campaign.account, time.perf_counter()
    marks = [max(1, int(inputs * mark)) for mark in MARKS]
    with hangs_are_told():
        while account.inputs < inputs and account.finding is None:
            on_batch()
            campaign.read(min(CHECKED_TOGETHER, inputs - account.inputs))
            account.seconds = time.perf_counter() - began
            while len(account.memory) < len(marks) and account.inputs >= marks[len(account.memory)]:
                gc.collect()
                account.memory.append(memory_bytes())
                tell(account)
    account.outcomes = len(campaign.pool.outcomes)
    account.longest_s = campaign.stopwatch.longest_s
    return account


class _Campaign:
    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._seed = seed
        self._dice = random.Random(f"{seed} {target.name}")
        self.pool = Pool(self._dice)
        self.stopwatch = Stopwatch()
        self.account = Account(target.name)

    def read(self, count: int) -> None:
        """Make and read so many inputs."""
        begin_input()
        for _ in range(count):
            given = self._next()
            self.account.inputs += 1
            self.stopwatch.start()
            try:
                outcome = self._target.check(given)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
                self.account.finding = self._found(given, error)
                return
            self.stopwatch.stop()
            self.pool.learn(given, outcome)

    def _next(self) -> Input:
        dice, pool = self._dice, self.pool
        if not len(pool) or dice.randrange(10) < MADE_OF_TEN:
            return self._target.make(dice)
        return self._target.mutate(pool.any(), pool.any(), dice)

    def _found(self, given: Input, error: Exception) -> Finding:
        smallest = shrunk(given, lambda candidate: self._fails(candidate, type(error)))
        return Finding(
            self._target.name,
            self._seed,
            self.account.inputs,
            smallest,
            f"{type(error).__name__}: {error}",
        )

    def _fails(self, given: Input, kind: type[Exception]) -> bool:
        begin_input()
        try:
            self._target.check(given)
        except Exception as error:  # noqa: BLE001 - it is compared
            return type(error) is kind
        return False
