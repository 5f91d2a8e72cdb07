"""Old events go, and whoever comes back later is told so: a real server, from outside."""

import asyncio

import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet, Frame, Peer
from tests.until import PATIENCE_S

pytestmark = pytest.mark.process

SETTINGS = {"IMSERVER_RETENTION_EVENTS": "100", "IMSERVER_RETENTION_INTERVAL_S": "0.05"}


async def first_page(peer: Peer, conv: str) -> list[Frame]:
    page: list[Frame] = (await peer.request("history", conv=conv, after=0, limit=500))["events"]
    return page


async def wait_trimmed(peer: Peer, conv: str, floor: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await first_page(peer, conv))[0]["seq"] < floor:
            await asyncio.sleep(0.02)


@pytest.mark.timeout(120)
async def test_a_robot_that_was_away_too_long_gets_a_gap_and_then_the_log_from_the_floor(
    start_server: StartServer,
) -> None:
    server: ServerProcess = start_server(environment=SETTINGS)
    fleet = Fleet(server)
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(one, other)
    await one.pipeline(conv, range(50))
    await other.until_seq(conv, 40)
    place = other.place(conv, 40)
    await other.close()
    await one.pipeline(conv, range(449))
    await one.until_seq(conv, 500)
    await wait_trimmed(one, conv, 401)
    assert "is sound: 1 conversations, 100 events" in server.command("check")
    server.restart()  # or the hot tail would still have what the store let go
    again = await fleet.online("r2", resume={conv: place})
    log = await again.until_seq(conv, 500)
    assert [event["seq"] for event in log] == list(range(401, 501))
    [gap] = [notice for notice in again.notices if notice["t"] == "gap"]
    assert (gap["from"], gap["to"], gap["why"]) == (41, 400, "retention")
    assert "id" not in gap
    again.notices.clear()
    assert (await first_page(again, conv))[0]["seq"] == 401
    assert [(gap["from"], gap["to"], "id" in gap) for gap in again.notices] == [(1, 400, True)]
    await fleet.aclose()


async def test_a_reader_at_the_head_misses_nothing_while_old_events_go(
    start_server: StartServer,
) -> None:
    fleet = Fleet(start_server(environment=SETTINGS))
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(one, other)
    for _ in range(10):
        await one.pipeline(conv, range(300))
        await other.until_seq(conv, len(other.logs[conv]))
    await other.until_seq(conv, 3_001)
    assert [event["seq"] for event in other.logs[conv]] == list(range(1, 3_002))
    assert not [notice for notice in other.notices if notice["t"] == "gap"]
    await fleet.aclose()
