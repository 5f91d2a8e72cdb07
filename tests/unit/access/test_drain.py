"""The end of a node: when its robots are asked to come back."""

import asyncio
import random
from collections import Counter

import pytest
from websockets.frames import Close, Opcode

from client_sdk.backoff import Backoff, Reconnect
from client_sdk.options import Options
from imserver import process
from imserver.protocol.errors import CloseCode
from imserver.protocol.server_frames import Bye
from tests.unit.access.node_in_memory import running
from tests.unit.access.raw_client import RawClient, frame, opened

ROBOTS = 100
DEFAULTS = Options()


def comes_back_s(bye: Bye, seed: int) -> float:
    """Return after how many seconds a robot of the SDK comes back that got this goodbye."""
    backoff = Backoff(DEFAULTS.backoff_base_s, DEFAULTS.backoff_cap_s, random.Random(seed))
    reconnect = Reconnect(backoff)
    reconnect.opened(0.0)
    reconnect.told(bye)
    _, wait_s = reconnect.after(bye.code, bye.reason, 60.0)
    assert isinstance(wait_s, float)
    return wait_s


async def goodbye(client: RawClient) -> Bye:
    """Return the goodbye that a client gets, and close."""
    while not any(isinstance(frame, Bye) for frame in client.frames):
        await client.tick()
    (bye,) = (frame for frame in client.frames if isinstance(frame, Bye))
    client.feed(frame(Opcode.CLOSE, Close(bye.code, "").serialize()))
    return bye


async def test_robots_come_back_from_a_drain_at_an_even_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "RETURNS_PER_S", ROBOTS // 4)
    loop = asyncio.get_running_loop()
    async with running() as node:
        clients = [await opened(node, robot=f"r{number}") for number in range(ROBOTS)]
        committed = loop.create_task(asyncio.sleep(0))
        draining = loop.create_task(process._drain(node.node, committed, 60.0))
        byes = [await goodbye(client) for client in clients]
        await draining
    assert {bye.code for bye in byes} == {CloseCode.DRAINING}
    seconds = Counter(int(comes_back_s(bye, seed)) for seed, bye in enumerate(byes))
    assert min(seconds) >= 1
    assert len(seconds) >= 4, "so many seconds does it take at that pace"
    assert max(seconds.values()) <= 2 * ROBOTS / len(seconds)
