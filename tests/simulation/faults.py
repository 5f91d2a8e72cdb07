"""How faults strike: each kind a small act on the server, the disk, the network or a client."""

import random
from collections.abc import Callable

from msgspec import Struct

from tests.simulation.disk import Disk
from tests.simulation.network import Line, Network
from tests.simulation.operator import Operator
from tests.simulation.plan import Fault
from tests.simulation.robots import Client, send_away
from tests.simulation.server import Server
from tests.simulation.society import Society
from tests.simulation.timeline import Timeline

_JUMPS_MS = (-86_400_000.0, -3_600_000.0, -5_000.0, 5_000.0, 3_600_000.0, 400 * 86_400_000.0)


class Victims(Struct):
    """Everything that a fault can strike."""

    timeline: Timeline
    network: Network
    disk: Disk
    server: Server
    operator: Operator
    society: Society
    clients: list[Client]


def strike(victims: Victims, fault: Fault) -> None:
    """Let a fault happen now, and plan its end if it has one."""
    dice = random.Random(fault.number)
    victims.network.trace.counts[f"fault: {fault.kind}"] += 1
    victims.network.trace.note(victims.timeline.now_s, f"fault {fault.kind} {fault.for_s:.3f} s")
    _ACTS[fault.kind](victims, fault, dice)


def heal(victims: Victims) -> None:
    """End every fault, and let what is dead begin to live."""
    for end in (_heal_disk, _heal_network):
        end(victims)
    if victims.server.loop is not None:
        victims.server.loop.put_fuse_out()
    victims.operator.heal()
    victims.server.start()
    for client in victims.clients:
        client.pace.slow_until_s = 0.0
        client.start()


def _heal_disk(victims: Victims) -> None:
    health = victims.disk.health
    health.full = health.unreadable = 0.0
    health.broken_syncs = 0
    health.sync_s = (0.000_2, 0.003)


def _heal_network(victims: Victims) -> None:
    weather = victims.network.weather
    weather.refusing = weather.swallowing = False
    weather.pieces, weather.delay_s = 0.0, (0.000_2, 0.004)
    for line in victims.network.lines:
        line.cut_after, line.stalled_until_s = None, 0.0


def _kill(victims: Victims, _fault: Fault, dice: random.Random) -> None:
    victims.server.kill_in(dice.randint(1, dice.choice((10, 100))), power_cut=False)


def _cut_power(victims: Victims, fault: Fault, dice: random.Random) -> None:
    """Cut the power, often while the disk takes its time and much is written that is not synced."""
    if dice.random() < 0.5:
        victims.server.kill_in(dice.randint(1, dice.choice((10, 100))), power_cut=True)
        return
    health = victims.disk.health
    health.sync_s = (0.02, 0.3)
    for client in victims.clients:
        client.ask(lambda application, robot: application.flood(robot, 1))
    victims.timeline.after(fault.for_s + 0.5, setattr, health, "sync_s", (0.000_2, 0.003))
    victims.timeline.after(dice.uniform(0.05, 0.5), lambda: victims.server.kill(power_cut=True))


def _drain(victims: Victims, _fault: Fault, dice: random.Random) -> None:
    """Drain the server, often in the middle of much that is sent."""
    if dice.random() < 0.5:
        victims.server.drain()
        return
    for client in victims.clients:
        client.ask(lambda application, robot: application.flood(robot, 4))
    victims.timeline.after(dice.uniform(0.003, 0.03), victims.server.drain)


def _pause_server(victims: Victims, fault: Fault, _dice: random.Random) -> None:
    if victims.server.loop is not None:
        victims.server.loop.pause(fault.for_s)


def _jump_server_clock(victims: Victims, _fault: Fault, dice: random.Random) -> None:
    jump_ms = dice.choice(_JUMPS_MS)
    victims.society.count(f"server clock set {'forwards' if jump_ms > 0 else 'back'}")
    victims.server.jump_clock(jump_ms)


def _fill_disk(victims: Victims, fault: Fault, dice: random.Random) -> None:
    victims.disk.health.full = dice.choice((0.3, 1.0))
    victims.timeline.after(fault.for_s, setattr, victims.disk.health, "full", 0.0)


def _break_sync(victims: Victims, _fault: Fault, _dice: random.Random) -> None:
    victims.disk.health.broken_syncs += 1


def _hide_pages(victims: Victims, fault: Fault, dice: random.Random) -> None:
    victims.disk.health.unreadable = dice.choice((0.1, 0.5))
    victims.timeline.after(fault.for_s, setattr, victims.disk.health, "unreadable", 0.0)


def _slow_disk(victims: Victims, fault: Fault, dice: random.Random) -> None:
    health = victims.disk.health
    health.sync_s = dice.choice(((0.02, 0.2), (0.2, 1.5)))
    victims.timeline.after(fault.for_s, setattr, health, "sync_s", (0.000_2, 0.003))


def _restore(victims: Victims, fault: Fault, _dice: random.Random) -> None:
    victims.operator.restore(fault.for_s)


def _lose_tail(victims: Victims, _fault: Fault, _dice: random.Random) -> None:
    victims.operator.lose_tail()


def _line(victims: Victims, dice: random.Random) -> Line | None:
    lines = victims.network.lines
    return dice.choice(lines) if lines else None


def _cut(victims: Victims, _fault: Fault, dice: random.Random) -> None:
    line = _line(victims, dice)
    if line is not None:
        line.cut_after = dice.choice((1, 10, 100, 1_000)) * dice.randint(1, 10)


def _stall(victims: Victims, fault: Fault, dice: random.Random) -> None:
    for line in list(victims.network.lines):
        if dice.random() < 0.5:
            line.stalled_until_s = victims.timeline.now_s + fault.for_s


def _silence(victims: Victims, _fault: Fault, dice: random.Random) -> None:
    line = _line(victims, dice)
    if line is not None:
        line.silent = True


def _half_close(victims: Victims, _fault: Fault, dice: random.Random) -> None:
    line = _line(victims, dice)
    if line is not None:
        dice.choice(line.ends).half_close()


def _refuse(victims: Victims, fault: Fault, _dice: random.Random) -> None:
    victims.network.weather.refusing = True
    victims.timeline.after(fault.for_s, setattr, victims.network.weather, "refusing", False)


def _swallow(victims: Victims, fault: Fault, _dice: random.Random) -> None:
    victims.network.weather.swallowing = True
    victims.timeline.after(fault.for_s, setattr, victims.network.weather, "swallowing", False)


def _tear(victims: Victims, fault: Fault, dice: random.Random) -> None:
    victims.network.weather.pieces = dice.choice((0.3, 0.8))
    victims.timeline.after(fault.for_s, setattr, victims.network.weather, "pieces", 0.0)


def _lag(victims: Victims, fault: Fault, dice: random.Random) -> None:
    weather = victims.network.weather
    weather.delay_s = dice.choice(((0.02, 0.1), (0.1, 0.6)))
    victims.timeline.after(fault.for_s, setattr, weather, "delay_s", (0.000_2, 0.004))


def _kill_client(victims: Victims, fault: Fault, dice: random.Random) -> None:
    dice.choice(victims.clients).kill(fault.for_s)


def _leave(victims: Victims, _fault: Fault, dice: random.Random) -> None:
    dice.choice(victims.clients).leave()


def _pause_client(victims: Victims, fault: Fault, dice: random.Random) -> None:
    dice.choice(victims.clients).pause(fault.for_s)


def _jump_client_clock(victims: Victims, _fault: Fault, dice: random.Random) -> None:
    jump_ms = dice.choice(_JUMPS_MS)
    victims.society.count(f"client clock set {'forwards' if jump_ms > 0 else 'back'}")
    dice.choice(victims.clients).jump_clock(jump_ms)


def _lose_memory(victims: Victims, fault: Fault, dice: random.Random) -> None:
    remembering = [client for client in victims.clients if client.plan.remembers]
    if remembering:
        dice.choice(remembering).kill(fault.for_s, memory_too=True)


def _take_over(victims: Victims, _fault: Fault, dice: random.Random) -> None:
    dice.choice(victims.clients).take_over(with_memory=dice.random() < 0.5)


def _flood(victims: Victims, fault: Fault, dice: random.Random) -> None:
    """Let a device read nothing for a while, in which all others send much, and perhaps one is removed."""
    leader, deaf = victims.clients[0], dice.choice(victims.clients)
    deaf.pause(1.0 + 2 * fault.for_s)
    for client in victims.clients:
        if client is not deaf:
            client.ask(lambda application, robot: application.flood(robot, 6))
    robot = dice.choice(victims.clients).plan.robot
    if dice.random() < 0.5 and robot != leader.plan.robot:
        victims.timeline.after(
            dice.uniform(0.003, 0.03),
            lambda: leader.ask(
                lambda application, leading: application.asking.send_off(leading, robot)
            ),
        )


def _send_away(victims: Victims, fault: Fault, dice: random.Random) -> None:
    """Let a robot be removed while it is away, and perhaps added again before or after it is back."""
    leader = victims.clients[0]
    robots = sorted({client.plan.robot for client in victims.clients} - {leader.plan.robot})
    if not robots:
        return
    robot = dice.choice(robots)
    away = [client for client in victims.clients if client.plan.robot == robot]
    for client in away:
        client.kill(0.3 + fault.for_s)
    back_after_s = dice.choice((None, 0.0, 0.0, 1.0, 1.0))
    society = victims.society
    victims.timeline.after(
        0.02, lambda: send_away(society, away, leader, back_after_s=back_after_s)
    )


def _stall_reader(victims: Victims, fault: Fault, dice: random.Random) -> None:
    client = dice.choice(victims.clients)
    client.pace.slow_until_s = victims.timeline.now_s + 2 * fault.for_s


_ACTS: dict[str, Callable[[Victims, Fault, random.Random], None]] = {
    "kill": _kill,
    "power cut": _cut_power,
    "drain": _drain,
    "server pause": _pause_server,
    "server clock": _jump_server_clock,
    "disk full": _fill_disk,
    "unknown commit": _break_sync,
    "unreadable": _hide_pages,
    "slow disk": _slow_disk,
    "restore": _restore,
    "lost tail": _lose_tail,
    "cut": _cut,
    "stall": _stall,
    "silence": _silence,
    "half close": _half_close,
    "refuse": _refuse,
    "swallow": _swallow,
    "pieces": _tear,
    "lag": _lag,
    "client kill": _kill_client,
    "client leaves": _leave,
    "client pause": _pause_client,
    "client clock": _jump_client_clock,
    "memory lost": _lose_memory,
    "takeover": _take_over,
    "flood": _flood,
    "removed while away": _send_away,
    "stalled reader": _stall_reader,
}
