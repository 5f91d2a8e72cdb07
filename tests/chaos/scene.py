"""What every scene of chaos has: robots, a journal, and how long things may take there."""

import asyncio
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from imserver.verify.logs import Logs
from tests.chaos.fleet import Fleet
from tests.chaos.journal import Journal
from tests.chaos.raw_store import RawStore

ACK_LIMIT_S = 15.0
"""Without an ack for this long after a fault was healed, the run has a finding and goes on."""


class Silence(NamedTuple):
    """A time, on the monotonic clock, in which nothing may be acked that was asked for in it."""

    name: str
    since_s: float
    until_s: float


@dataclass(kw_only=True)
class Scene:
    """What faults act on. Everything may take ``slack`` times as long as usual, in runs that must not judge
    the machine.

    Attributes:
        lines: conversations and robots each of which has to go on by itself after a fault.
    """

    folder: Path
    fleet: Fleet
    journal: Journal
    slack: float = 1.0
    lines: frozenset[str] = frozenset()
    silences: list[Silence] = field(default_factory=list)

    def fault(self, name: str, **facts: Any) -> None:
        """Note that something is broken now."""
        self.journal.note("fault", name, facts=facts)

    def healed(self, name: str, text: str = "", *, limit_s: float | None = None) -> None:
        """Note that it works again."""
        allowed_s = None if limit_s is None else self.allowed_s(limit_s)
        self.journal.note("healed", name, text, limit_s=allowed_s)

    def finding(self, name: str, text: str) -> None:
        """Note something that must not be."""
        self.journal.note("finding", name, text)

    def silent(self, name: str, *, since_s: float) -> None:
        """Note that from a moment until now nothing could be stored."""
        self.silences.append(Silence(name, since_s, time.monotonic()))

    def allowed_s(self, usual_s: float) -> float:
        """Return how long something may take here that may usually take so long."""
        return usual_s * self.slack

    def starts(self) -> int:
        """Return how often a server was started."""
        raise NotImplementedError

    async def expect_running(self, name: str) -> None:
        """Note a finding, and start it again, where a server has ended that should run."""
        raise NotImplementedError

    async def expect_going(self, name: str) -> None:
        """Note a finding if sends do not go on after a fault."""
        if not await self.fleet.wait_acks(1, within_s=self.allowed_s(ACK_LIMIT_S)):
            self.finding(name, f"no send was acked in {ACK_LIMIT_S:g} s afterwards")
            await self.expect_running(name)

    async def heal(self) -> None:
        """Let everything work again that can: the run comes to its end."""
        await self.expect_running("the end")

    async def end(self) -> None:
        """End the servers in good order, when the robots have gone; note what they should not have done."""
        raise NotImplementedError

    def raw_store(self) -> RawStore:
        """Return what the store holds, read past the server. Blocks."""
        raise NotImplementedError

    def raw_logs(self) -> Logs:
        """Return the same as `imserver.verify` takes it. Blocks."""
        raise NotImplementedError


async def run_command(*command: str) -> None:
    """Run a command of the system off the loop."""
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=60)
