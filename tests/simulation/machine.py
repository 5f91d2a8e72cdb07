"""The machine that a simulated process takes for real: its clocks and its randomness.

Product code reads clocks and dice at a few places of its own; there the simulated ones are put in, and they
answer for the process that is running at the moment.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, Final, cast
from unittest.mock import patch

import client_sdk.clock
import client_sdk.robot
import imserver.access.flusher
import imserver.access.tcp
import imserver.access.websocket
import imserver.core.clock
import imserver.node
from tests.simulation.timeline import SimLoop

_TOKEN_BITS = 64


def process() -> SimLoop:
    """Return the event loop of the process that is running."""
    return cast(SimLoop, asyncio.get_running_loop())


class SeededIds:
    """The `Ids` of a simulated server."""

    def token(self) -> str:
        return f"{process().dice.getrandbits(128):032x}"


_CLOCKS = SimpleNamespace(
    time_ns=lambda: int(process().wall_ms() * 1_000_000), monotonic=lambda: process().time()
)
_DICE = SimpleNamespace(
    Random=lambda: random.Random(process().dice.getrandbits(_TOKEN_BITS)),
    token_hex=lambda count: f"{process().dice.getrandbits(8 * count):0{2 * count}x}",
)


PLACES: Final[Sequence[tuple[Any, str, Any]]] = (
    (imserver.access.flusher, "monotonic", _CLOCKS.monotonic),
    (imserver.access.tcp, "monotonic", _CLOCKS.monotonic),
    (imserver.access.websocket, "monotonic", _CLOCKS.monotonic),
    (imserver.core.clock, "time", _CLOCKS),
    (imserver.node, "secrets", _DICE),
    (client_sdk.clock, "time", _CLOCKS),
    (client_sdk.robot, "random", _DICE),
    (client_sdk.robot, "secrets", _DICE),
)
"""Where product code reads clocks and dice: module, name in it, and what stands there instead."""


@contextmanager
def simulated_machine() -> Iterator[None]:
    """Let product code read simulated clocks and dice."""
    with ExitStack() as stack:
        for module, name, stand_in in PLACES:
            stack.enter_context(patch.object(module, name, stand_in))
        yield
