"""Waiting for a condition, a turn of the loop at a time."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 30.0
"""Longer than anything takes on the busiest machine, shorter than the limit of a test."""


async def until(
    condition: Callable[[], object], *, within_s: float = PATIENCE_S, step_s: float = 0.002
) -> None:
    """Return once ``condition()`` is true.

    Args:
        step_s: how long to rest between two looks; 0 has the loop turn once.

    Raises:
        TimeoutError: it is not in time.
    """
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(step_s)
