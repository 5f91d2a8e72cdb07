"""What a fault is."""

import random
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from tests.chaos.scene import Scene

S = TypeVar("S", bound=Scene)
Strike: TypeAlias = Callable[[S, random.Random], Awaitable[None]]
"""Breaks something, keeps it broken for a while, and heals it. All randomness comes from the dice."""


class Fault(NamedTuple, Generic[S]):
    """A fault that a run may inject.

    Attributes:
        name: a short one.
        says: what happens, and what the server owes then.
        strike: does it.
        needs: abilities of the machine, keys of the setting's ``abilities``.
        often: how often it comes in one round of faults.
    """

    name: str
    says: str
    strike: Strike[S]
    needs: tuple[str, ...] = ()
    often: int = 1
