"""Two programs that use one device and come back against the server's word, as fast as they can."""

import asyncio
import contextlib

from websockets.exceptions import ConnectionClosed

from imserver.access.takeovers import AT_ONCE, EVERY_S
from imserver.protocol.errors import CloseCode
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet
from tests.until import until


async def test_a_device_that_two_programs_fight_for_changes_hands_at_a_pace(
    target: ServerProcess, gang: Fleet
) -> None:
    watcher = await gang.online("watcher")
    robot = await gang.online("r1")
    conv = await gang.group(watcher, robot)
    key, name = await gang.register("r1"), gang.name("r1")
    codes: list[int] = []
    welcomes = 0

    async def fight() -> None:
        nonlocal welcomes
        while True:
            peer = await gang.stranger()
            with contextlib.suppress(ConnectionClosed):
                opening = await peer.hello(name, key=key)
                welcomes += opening["t"] == "welcome"
            codes.append(await peer.until_closed())

    loop = asyncio.get_running_loop()
    began_s = loop.time()
    async with asyncio.TaskGroup() as group:
        fighters = [group.create_task(fight()) for _ in range(3)]
        await until(lambda: welcomes >= AT_ONCE + 4)
        for fighter in fighters:
            fighter.cancel()
    took_s = loop.time() - began_s

    assert welcomes <= AT_ONCE + took_s / EVERY_S + 2
    assert set(codes) <= {CloseCode.REPLACED, CloseCode.OVERLOADED}
    sent = await watcher.send(conv, "nobody else is disturbed")
    await watcher.until_seq(conv, sent["seq"])
    await watcher.settle()
    told = [frame for frame in watcher.signals if frame["sender"] == name]
    assert len(told) <= welcomes + 1


async def test_who_is_sent_away_in_a_fight_is_told_why_and_when_to_come(gang: Fleet) -> None:
    await gang.online("r1")
    key, name = await gang.register("r1"), gang.name("r1")

    async def take_over() -> dict[str, object]:
        peer = await gang.stranger()
        return await peer.hello(name, key=key)

    async with asyncio.TaskGroup() as group:
        taking = [group.create_task(take_over()) for _ in range(6 * AT_ONCE)]
    byes = [task.result() for task in taking if task.result()["t"] == "bye"]
    # Where the machine is busy, for some the time for their `hello` is over before.
    byes = [bye for bye in byes if bye["code"] != CloseCode.HELLO_TIMEOUT]
    assert byes, "more came at once than may"
    for bye in byes:
        assert bye["code"] == CloseCode.OVERLOADED
        assert "used twice" in str(bye["reason"])
        assert int(str(bye["retry_after"])) >= 1_000
