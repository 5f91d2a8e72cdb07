"""Robots that go on sending while nodes come and go, as applications do: by the SDK and nothing else."""

import asyncio
import random
import time
from pathlib import Path

from client_sdk import Gap, Options, OutcomeUnknown, Refused, Robot
from imserver.cli.mint import enrolment_token
from imserver.verify import HistoryWriter
from imserver.verify.recorder import Recorder

OPTIONS = Options(connect_timeout_s=60.0, backoff_base_s=0.1, backoff_cap_s=2.0)
SEND_TIMEOUT_S = 60.0
_TOKEN_TTL_MS = 3_600_000


class Member:
    """A robot, what it wrote down, and what it counted.

    Attributes:
        acked: sends that were stored.
        failures: how others ended.
        longest_s: the longest time from a send to its answer.
    """

    def __init__(self, name: str, url: str, *, data: Path, history: HistoryWriter) -> None:
        _, token = enrolment_token(data, name, groups=[], ttl_ms=_TOKEN_TTL_MS)
        self.name = name
        self.robot = Robot(
            url, name=name, key=history_key(data, name), token=token, options=OPTIONS
        )
        self.recorder = Recorder(self.robot, history)
        self.acked = 0
        self.failures: list[str] = []
        self.longest_s = 0.0
        self.received: dict[str, int] = {}
        self._dice = random.Random(name)

    async def read(self) -> None:
        """Take every event until the robot is closed."""
        async for item in self.recorder.events():
            self.received[item.conv] = item.after if isinstance(item, Gap) else item.seq

    async def send(self, convs: list[str], *, per_s: float, until: asyncio.Event) -> None:
        """Begin so many sends a second, whatever becomes of those before, until told to end."""
        async with asyncio.TaskGroup() as group:
            while not until.is_set():
                group.create_task(self._send(self._dice.choice(convs)))
                await asyncio.sleep(self._dice.expovariate(per_s))

    async def _send(self, conv: str) -> None:
        began_s = time.monotonic()
        try:
            await self.recorder.send(conv, {"at": began_s}, timeout_s=SEND_TIMEOUT_S)
            self.acked += 1
        except (OutcomeUnknown, Refused) as exc:
            self.failures.append(f"{self.name}: {type(exc).__name__}: {exc}")
        self.longest_s = max(self.longest_s, time.monotonic() - began_s)


def history_key(data: Path, name: str) -> Path:
    """Return where a robot keeps its key."""
    return data.parent / f"{name}.pem"
