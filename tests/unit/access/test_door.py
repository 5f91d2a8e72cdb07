"""The door: how many may be inside, and from where."""

import asyncio

import pytest

from imserver.access.door import FILES_RESERVE, VISITORS_RESERVE, source_of
from imserver.access.wheel import AT_ONCE
from imserver.core.settings import AccessSettings, Settings
from tests.unit.access.node_in_memory import running
from tests.until import PATIENCE_S

RESERVE = VISITORS_RESERVE + FILES_RESERVE


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002::/64"),
        ("2001:db8:1:2::1", "2001:0db8:0001:0002::/64"),
        ("2001:db8:1:3::1", "2001:0db8:0001:0003::/64"),
        ("fe80::1%eth0", "fe80:0000:0000:0000::/64"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(host: str, source: str) -> None:
    assert source_of(host) == source


@pytest.mark.parametrize(
    ("files_max", "connections_max", "fits"),
    [(1_000, 1_000 - RESERVE, False), (1_000 + RESERVE, 1_000, True), (50, 1, False)],
)
async def test_no_more_are_let_in_than_there_may_be_open_files(
    files_max: int, connections_max: int, *, fits: bool
) -> None:
    async with running(Settings(access=AccessSettings(connections_max=1_000))) as node:
        assert node.door.fit(files_max) is fits
        assert node.door.connections_max == connections_max


class Guest:
    """Counts how often it is asked."""

    def __init__(self, look_at: int) -> None:
        self.look_at = look_at
        self.asked = 0

    def check_deadline(self) -> None:
        self.asked += 1


async def test_a_visitor_is_not_asked_before_time_matters_to_it() -> None:
    async with running() as node:
        quiet, busy = Guest(node.door.wheel.tick + 3), Guest(0)
        for guest in (quiet, busy):
            assert node.door.enter_visitor(guest, "192.0.2.7")
        node.turn_wheel(2)
        assert (quiet.asked, busy.asked) == (0, 2)
        node.turn_wheel(2)
        assert (quiet.asked, busy.asked) == (2, 4)


async def test_every_visitor_is_asked_when_the_node_stops() -> None:
    async with running() as node:
        quiet = Guest(node.door.wheel.tick + 3)
        assert node.door.enter_visitor(quiet, "192.0.2.7")
        node.door.drain()
        node.turn_wheel()
        assert quiet.asked == 1


async def test_many_visitors_are_asked_a_few_at_a_time_by_one_who_asks() -> None:
    async with running() as node:
        guests = [Guest(0) for _ in range(10 * AT_ONCE)]
        for guest in guests:
            assert node.door.enter_visitor(guest, "192.0.2.7")
        node.turn_wheel(3)
        assert sum(guest.asked for guest in guests) == AT_ONCE, (
            "the others wait for the rest to be over"
        )
        async with asyncio.timeout(PATIENCE_S):
            while not all(guest.asked for guest in guests):
                await asyncio.sleep(0)
