"""Where runs take place."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, NamedTuple, TypeAlias

from tests.chaos.fault import Fault, S
from tests.chaos.journal import Journal
from tests.chaos.plan import Plan

Abilities: TypeAlias = dict[str, str | None]
"""What faults may need, and for each why it is not there, or None if it is."""


class Setting(NamedTuple, Generic[S]):
    """Where runs take place.

    Attributes:
        program: the module that runs them, for ``python -m``.
        title: what the report is called.
        robots, groups, rate: how many there are, and how fast they send, unless a run says otherwise.
        faults: all that may happen there.
        abilities: tells what the machine can do.
        needs: abilities without which there is no run at all.
        scene: makes everything, and removes it again.
        harm: what the report counts of the faults: a word, and the names of those that count as it.
        versions: of what is run, for the report.
    """

    program: str
    title: str
    robots: int
    groups: int
    rate: float
    faults: Sequence[Fault[S]]
    abilities: Callable[[], Abilities]
    needs: tuple[str, ...]
    scene: Callable[[Plan, Journal, Abilities], AbstractAsyncContextManager[S]]
    harm: Mapping[str, Sequence[str]]
    versions: Callable[[], Mapping[str, object]]
