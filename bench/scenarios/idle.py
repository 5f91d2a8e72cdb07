"""Idle robots: how fast they are let in, and what each costs in memory while it says nothing.

The handshake is the real one: TCP, WebSocket upgrade, ``hello`` with a bearer token, or the
Ed25519 challenge.
Arrivals run side by side, `AT_ONCE` at a time.
"""

from contextlib import closing
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from bench import accounting
from bench.fleet import Fleet
from bench.load.arrival import Arrival
from bench.load.connection import Connection
from bench.load.loop import Loop
from bench.scenario import DRAIN_S, SHARES, Figure, Findings, Task, findings, measured
from imserver.protocol.client_frames import Hello, Register

AT_ONCE: Final = 32
FIRST: Final = 128
"""Robots that come before the server is weighed, so that its caches are grown."""
SETTLE_S: Final = 0.5


class Idle(Struct, frozen=True):
    """Robots that connect and stay; ``challenged``: they prove a registered key instead of a token."""

    name: str
    title: str
    robots: int
    challenged: bool
    bytes_reference: float | None = None

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What a run returns."""
        return (
            Figure("accepts_per_s", "handshakes/s", "more", 1_000),
            Figure("cpu_us_per_accept", "µs server CPU per handshake", "less"),
            Figure("kib_per_connection", "KiB of server memory each", "less", self.bytes_reference),
            Figure("idle_core", "% of a core while all are idle", "less"),
            *SHARES,
        )

    def run(self, task: Task) -> Findings:
        """Let the robots in, look at the server and return what was found."""
        with closing(_Entrance(task, challenged=self.challenged)) as entrance:
            entrance.admit(range(FIRST))
            before_bytes = accounting.resident_bytes(task.server_pid)
            with measured(task.server_pid) as window:
                entrance.admit(range(FIRST, FIRST + self.robots))
            with measured(task.server_pid) as idle:
                entrance.loop.run(seconds=SETTLE_S)
            grown_bytes = accounting.resident_bytes(task.server_pid) - before_bytes
            entrance.check_all_open()
        return findings(
            window,
            saturating=True,
            accepts_per_s=self.robots / window.used.seconds,
            cpu_us_per_accept=window.used.server_s / self.robots * 1e6,
            kib_per_connection=grown_bytes / self.robots / 1024,
            idle_core=idle.used.server * 100,
        )


class _Entrance:
    """Lets robots in, `AT_ONCE` side by side."""

    def __init__(self, task: Task, *, challenged: bool) -> None:
        self.loop: Final = Loop()
        self._fleet: Final = Fleet(task.port, task.directory)
        self._key: Final = Ed25519PrivateKey.generate() if challenged else None
        self._inside: Final[list[Arrival]] = []
        self._outside: list[Hello] = []
        self._expected = 0
        if self._key is not None:
            self._register(self._key)

    def _register(self, key: Ed25519PrivateKey) -> None:
        connection = Connection(self._fleet.port)
        token = self._fleet.enrolment("idle")
        public_key = key.public_key().public_bytes_raw()
        connection.request(Register(id=0, robot="idle", token=token, public_key=public_key))
        connection.close()

    def admit(self, numbers: range) -> None:
        """Let these robots in and return when all are."""
        self._outside = [self._hello(number) for number in numbers]
        self._expected = len(self._inside) + len(numbers)
        for _ in range(min(AT_ONCE, len(numbers))):
            self._start_one()
        self.loop.run_until(
            lambda: len(self._inside) == self._expected, seconds=DRAIN_S, what="the last handshake"
        )

    def _hello(self, number: int) -> Hello:
        if self._key is not None:  # one robot with many devices: each proves the same key
            return Hello(robot="idle", device=f"device{number}")
        robot = f"idle{number}"
        return Hello(robot=robot, token=self._fleet.bearer(robot))

    def _start_one(self) -> None:
        if self._outside:
            Arrival(
                self.loop, self._fleet.port, self._outside.pop(), key=self._key, on_in=self._enter
            )

    def _enter(self, arrival: Arrival) -> None:
        self._inside.append(arrival)
        self._start_one()

    def check_all_open(self) -> None:
        """Check that no connection was closed while it idled."""
        for arrival in self._inside:
            arrival.check_open()

    def close(self) -> None:
        """Close everything."""
        self.loop.close()
        for arrival in self._inside:
            arrival.close()


SCENARIOS: Final = (
    Idle(
        "idle",
        "2,000 idle robots that never came before, bearer tokens",
        2_000,
        challenged=False,
        bytes_reference=6.3,
    ),
    Idle("idle-challenge", "1,000 idle devices, Ed25519 challenge", 1_000, challenged=True),
)
