"""Faults of the process, the server's and the robots': it is killed, stopped for a while, told to end."""

import asyncio
import random
import signal

from tests.chaos.fault import Fault
from tests.chaos.world import World

EXIT_LIMIT_S = 15.0
"""A drain may take ``drain_timeout_s``, 10 s, and a little."""
CLIENT_LIMIT_S = 30.0


async def kill(world: World, _dice: random.Random) -> None:
    world.fault("kill")
    await world.server.kill()
    await world.restart("kill")


async def kill_twice(world: World, dice: random.Random) -> None:
    after_s = dice.uniform(0.0, 1.0)
    world.fault("kill while starting", after_s=round(after_s, 3))
    await world.server.kill()
    starting = asyncio.create_task(world.server.start())
    await asyncio.sleep(after_s)
    await world.server.kill()
    await asyncio.wait({starting})
    starting.exception()  # that it was not ready is what was wanted
    await world.restart("kill while starting")


async def pause_server(world: World, dice: random.Random) -> None:
    for_s = dice.choice([0.5, 2.0, 6.0])
    world.fault("pause server", for_s=for_s)
    world.server.signal(signal.SIGSTOP)
    await asyncio.sleep(for_s)
    world.server.signal(signal.SIGCONT)
    world.healed("pause server", limit_s=5.0)
    await world.expect_running("pause server")


async def pause_client(world: World, dice: random.Random) -> None:
    client, for_s = dice.choice(world.fleet.clients), dice.choice([1.0, 4.0])
    world.fault("pause client", for_s=for_s)
    client.pause()
    await asyncio.sleep(for_s)
    client.go_on()
    world.healed("pause client")


async def kill_client(world: World, dice: random.Random) -> None:
    client, for_s = dice.choice(world.fleet.clients), dice.choice([0.0, 1.0])
    world.fault("kill client", for_s=for_s)
    await client.kill()
    await asyncio.sleep(for_s)
    await client.start()
    try:
        async with asyncio.timeout(world.allowed_s(CLIENT_LIMIT_S)):
            await client.enter("connect")
            await client.enter("send")
    except TimeoutError:
        world.finding("kill client", f"its robots were not online in {CLIENT_LIMIT_S:g} s")
    world.healed("kill client")


async def terminate(world: World, dice: random.Random) -> None:
    again_s = dice.uniform(0.0, 0.3)
    world.fault("SIGTERM twice", again_after_s=round(again_s, 3))
    world.server.signal(signal.SIGTERM)
    await asyncio.sleep(again_s)
    world.server.signal(signal.SIGTERM)
    await _expect_ended_well(world, "SIGTERM twice")
    await world.restart("SIGTERM twice")


async def drain(world: World, _dice: random.Random) -> None:
    """SIGTERM in mid-load: what was accepted is stored and acked, and the server ends in time."""
    world.fault("drain")
    world.server.signal(signal.SIGTERM)
    await _expect_ended_well(world, "drain")
    await world.restart("drain")


async def _expect_ended_well(world: World, name: str) -> None:
    status = await world.server.wait_exit(within_s=world.allowed_s(EXIT_LIMIT_S))
    if status is None:
        world.finding(name, f"the server has not ended within {EXIT_LIMIT_S:g} s")
        await world.server.kill()
    elif status != 0:
        words = world.server.last_words()
        world.finding(name, f"the server ended with status {status}, not 0: {words}")


FAULTS = (
    Fault("kill", "SIGKILL of the server; first ack within 5 s of its new start", kill, often=44),
    Fault("kill while starting", "SIGKILL, and another one while it starts", kill_twice),
    Fault("pause server", "SIGSTOP of the server for 0.5 to 6 s, then SIGCONT", pause_server),
    Fault("pause client", "SIGSTOP of a client process, then SIGCONT", pause_client, often=2),
    Fault(
        "kill client",
        "SIGKILL of a client process; its robots come back and ask for what had no outcome",
        kill_client,
        often=2,
    ),
    Fault("SIGTERM twice", "SIGTERM twice in mid-load: exit 0 in time, all acked", terminate),
    Fault("drain", "SIGTERM in mid-load: exit 0 in time, all acked", drain, often=2),
)
