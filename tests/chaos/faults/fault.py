"""What a fault is."""

import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

from tests.chaos.world import World

Strike: TypeAlias = Callable[[World, random.Random], Awaitable[None]]
"""Breaks something, keeps it broken for a while, and heals it. All randomness comes from the dice."""


class Fault(NamedTuple):
    """A fault that a run may inject.

    Attributes:
        name: a short one.
        says: what happens, and what the server owes then.
        strike: does it.
        needs: abilities of the machine, keys of `world.abilities`.
        often: how often it comes in one round of faults.
    """

    name: str
    says: str
    strike: Strike
    needs: tuple[str, ...] = ()
    often: int = 1
