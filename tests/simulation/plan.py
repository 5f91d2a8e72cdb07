"""What a seed stands for: who takes part, how, and which faults strike when.

A plan is drawn once and then only read, so that parts of it can be left out and the rest stays what it was:
that is how a failing seed is shrunk. Each seed has a random subset of the kinds of faults (a swarm): a fault
that is always there hides what only its absence shows.
"""

import random
from typing import Final

from msgspec import Struct

FAULTS: Final = (
    "kill",
    "power cut",
    "drain",
    "server pause",
    "server clock",
    "disk full",
    "unknown commit",
    "unreadable",
    "slow disk",
    "restore",
    "restore",
    "lost tail",
    "lost tail",
    "cut",
    "stall",
    "silence",
    "half close",
    "refuse",
    "swallow",
    "pieces",
    "lag",
    "client kill",
    "client kill",
    "client leaves",
    "client pause",
    "client clock",
    "memory lost",
    "takeover",
    "takeover",
    "stalled reader",
    "flood",
    "removed while away",
    "removed while away",
)
FORGETTING: Final = frozenset({"restore", "lost tail"})
"""Faults after which a cid that was stored may be unknown."""

NAMES: Final = ("ada", "bob", "cyd", "dan", "eve", "fay")


class ClientPlan(Struct, frozen=True):
    """A robot's device and how it behaves.

    Attributes:
        rate: actions a second.
        burst: most sends at a time without waiting for the answers.
        remembers: it has a memory that outlives its process, and asks again after its own restart.
        read_s: most time it takes to process an event.
        boldness: how much of what it does changes groups instead of sending.
        has_key: it registers a key and proves it; otherwise it has a bearer token.
        pad: most bytes of text in what it sends.
        from_s: when its first life begins.
    """

    number: int
    robot: str
    device: str
    rate: float
    burst: int
    window: int
    codec: str
    remembers: bool
    read_s: float
    boldness: float
    has_key: bool
    pad: int = 0
    from_s: float = 0.0


class Fault(Struct, frozen=True):
    """Something that goes wrong at a time, for a time; ``number`` decides whatever else there is to it."""

    at_s: float
    kind: str
    for_s: float
    number: int


class ServerPlan(Struct, frozen=True):
    """How the server is set up: small limits make rare paths common.

    Attributes:
        batch_events_max: most events in one commit; what is more waits in the committer's fair queue.
        keep_events, keep_s, keep_bytes: what retention keeps of the groups' logs; 0 keeps all.
        sweep_s: time between two sweeps of retention.
    """

    page_bytes_max: int
    tail_bytes_max: int
    write_buffer_bytes_max: int
    requests_max: int
    cursor_flush_s: float
    step_s: float
    capacity: int
    batch_events_max: int = 512
    pending_bytes_max: int = 64 * 2**20
    keep_events: int = 0
    keep_s: float = 0.0
    keep_bytes: int = 0
    sweep_s: float = 60.0

    @property
    def lets_go(self) -> bool:
        """Whether old events may go."""
        return any((self.keep_events, self.keep_s, self.keep_bytes))


class Plan(Struct, frozen=True):
    """Everything that a run needs to know."""

    seed: int
    talk_s: float
    clients: tuple[ClientPlan, ...]
    faults: tuple[Fault, ...]
    server: ServerPlan

    def describe(self) -> str:
        """Say in a few lines what this seed is about."""
        kinds = sorted({fault.kind for fault in self.faults})
        devices = ", ".join(f"{c.robot}/{c.device}" for c in self.clients)
        return (
            f"seed {self.seed}: {self.talk_s:.1f} s of faults, devices {devices}\n"
            f"  {len(self.faults)} faults: {', '.join(kinds) or 'none'}\n  {self.server}"
        )


def make_plan(seed: int) -> Plan:
    """Return the plan that a seed stands for."""
    dice = random.Random(f"plan {seed}")
    talk_s = dice.uniform(3.0, 9.0)
    return Plan(
        seed=seed,
        talk_s=talk_s,
        clients=_clients(dice, talk_s),
        faults=_faults(dice, talk_s),
        server=_server(dice),
    )


def _server(dice: random.Random) -> ServerPlan:
    lets_go = dice.random() < 0.4
    return ServerPlan(
        page_bytes_max=dice.choice((60, 300, 4_000, 192 * 1024)),
        tail_bytes_max=dice.choice((1, 2_000, 20_000, 2**20)),
        write_buffer_bytes_max=dice.choice((300, 2_000, 256 * 1024)),
        requests_max=dice.choice((2, 8, 1_024)),
        cursor_flush_s=dice.choice((0.02, 0.2, 1.0)),
        step_s=dice.choice((0.000_01, 0.000_05, 0.000_5)),
        capacity=dice.choice((600, 4_000, 65_536)),
        batch_events_max=dice.choice((1, 3, 512)),
        pending_bytes_max=dice.choice((6_000, 64 * 2**20)),
        keep_events=lets_go * dice.choice((0, 1, 4, 12)),
        keep_s=lets_go * dice.choice((0.0, 0.5, 2.0)),
        keep_bytes=lets_go * dice.choice((0, 0, 200)),
        sweep_s=dice.choice((0.1, 0.5)),
    )


def _clients(dice: random.Random, talk_s: float) -> tuple[ClientPlan, ...]:
    robots = NAMES[: dice.randint(2, 4)]
    devices = [(robots[0], "main", 0.0)]
    for robot in robots[1:]:
        later = dice.random() < 0.2
        devices.append((robot, "main", later * dice.uniform(0.5, talk_s)))
    for device in ("arm", "leg"):
        if dice.random() < 0.35:
            later = dice.random() < 0.5
            devices.append((dice.choice(robots), device, later * dice.uniform(0.5, talk_s)))
    with_key = {robot for robot in robots if dice.random() < 0.3}
    return tuple(
        ClientPlan(
            number=number,
            robot=robot,
            device=device,
            rate=dice.choice((0.5, 1.0, 2.0)),
            burst=dice.choice((1, 2, 6)),
            window=dice.choice((1, 3, 16, 1_024)),
            codec=dice.choice(("msgpack", "msgpack", "json")),
            remembers=dice.random() < 0.5,
            read_s=dice.choice((0.0, 0.01, 0.2)),
            boldness=dice.choice((0.0, 0.1, 0.4)),
            has_key=robot in with_key,
            pad=dice.choice((0, 0, 40, 900)),
            from_s=from_s,
        )
        for number, (robot, device, from_s) in enumerate(devices)
    )


def _faults(dice: random.Random, talk_s: float) -> tuple[Fault, ...]:
    kinds = [kind for kind in FAULTS if dice.random() < 0.4]
    if not kinds:
        return ()
    count = dice.randint(1, 12)
    faults = [
        Fault(
            at_s=dice.uniform(0.2, talk_s),
            kind=dice.choice(kinds),
            for_s=dice.choice((0.05, 0.5, 2.0)) * dice.uniform(0.2, 1.5),
            number=dice.getrandbits(32),
        )
        for _ in range(count)
    ]
    return tuple(sorted(faults, key=lambda fault: fault.at_s))
