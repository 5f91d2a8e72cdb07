"""The client processes, as the run sees them."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from tests.chaos.cast import PROCESSES
from tests.chaos.child import send_signal
from tests.chaos.orders import BURSTS, ClientOrder, Phase, Report, RobotOrder, decode_report, encode
from tests.chaos.plan import Plan

REPORT_BYTES_MAX = 1024 * 1024
QUIT_S = 20.0


class ClientProcess:
    """One process of robots.

    Attributes:
        report: its last.
        earlier: the last ones of its earlier lives.
    """

    def __init__(
        self, order: ClientOrder, folder: Path, *, number: int, prefix: Sequence[str] = ()
    ) -> None:
        self.order = order
        self._prefix = prefix
        self.report = Report()
        self.earlier: list[Report] = []
        self._order_file = folder / f"client-{number}.json"
        self._errors_file = folder / f"client-{number}-stderr.txt"
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._done: asyncio.Event = asyncio.Event()

    async def start(self) -> None:
        """Start the process."""
        self._order_file.write_bytes(encode(self.order))
        with self._errors_file.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *self._prefix,
                sys.executable,
                "-m",
                "tests.chaos.client",
                str(self._order_file),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=REPORT_BYTES_MAX,
            )
        self._reading = asyncio.create_task(self._read())

    async def enter(self, phase: Phase) -> None:
        """Lead it into a phase, and return when that is done."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._done.clear()
        self._process.stdin.write(phase.encode() + b"\n")
        await self._done.wait()
        if self._process.returncode not in (None, 0):
            raise ChildProcessError(f"a client process has died: {self.errors()[-2_000:]}")

    async def kill(self) -> None:
        """End it by SIGKILL."""
        assert self._process is not None
        assert self._reading is not None
        self._signal(signal.SIGKILL)
        await self._reading
        self.earlier.append(self.report)
        self.report = Report()

    def pause(self) -> None:
        """Let the process stand still."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let the process go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            send_signal(self._process, number)

    def errors(self) -> str:
        """Return what it wrote to standard error."""
        return self._errors_file.read_text() if self._errors_file.exists() else ""

    async def end(self) -> None:
        """Let it quit, or kill it."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self.go_on()
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                async with asyncio.timeout(QUIT_S):
                    await self._process.wait()
            except TimeoutError:
                self._signal(signal.SIGKILL)
                await self._process.wait()
        if self._reading is not None:
            await self._reading

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.report = decode_report(line)
            if self.report.done is not None:
                self._done.set()
        await self._process.wait()
        self._done.set()


class Fleet:
    """All client processes."""

    def __init__(self, clients: list[ClientProcess]) -> None:
        self.clients = clients

    async def start(self) -> None:
        """Start them all."""
        for client in self.clients:
            await client.start()

    async def enter(self, phase: Phase, *, within_s: float) -> None:
        """Lead them all into a phase; return when all have done it.

        Raises:
            TimeoutError: they have not in time.
        """
        async with asyncio.timeout(within_s), asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(client.enter(phase))

    def total(self) -> Report:
        """Return the sum of their last reports."""
        total = Report()
        for client in self.clients:
            for report in (client.report, *client.earlier):
                total.acked += report.acked
                total.refused += report.refused
                total.changed += report.changed
                total.received += report.received
                total.gaps += report.gaps
                total.reconnects += report.reconnects
                total.problems = total.problems + report.problems
                for name, t in report.acked_at.items():
                    total.acked_at[name] = max(t, total.acked_at.get(name, 0.0))
            total.unknown += client.report.unknown
        return total

    async def wait_each_acked(
        self, names: Collection[str], *, since_s: float, within_s: float
    ) -> list[str]:
        """Wait until each of these conversations and robots had an ack since then; return those that had
        none in time."""
        waiting = set(names)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while waiting:
                    acked_at = self.total().acked_at
                    waiting = {name for name in waiting if acked_at.get(name, 0.0) <= since_s}
                    await asyncio.sleep(0.05)
        return sorted(waiting)

    async def wait_acks(self, more: int, *, within_s: float) -> bool:
        """Return whether ``more`` sends were acked within so many seconds."""
        goal = self.total().acked + more
        try:
            async with asyncio.timeout(within_s):
                while self.total().acked < goal:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        return True

    async def end(self) -> None:
        """End every process."""
        for client in self.clients:
            await client.end()


def fleet_of(
    plan: Plan,
    orders: Sequence[RobotOrder],
    *,
    urls: Callable[[int], tuple[str, ...]],
    prefix: Callable[[int], Sequence[str]] = lambda _: (),
    bursts: tuple[int, ...] = BURSTS,
) -> Fleet:
    """Return the client processes of a run.

    Args:
        plan: the run's.
        orders: its robots.
        urls: where the robots of each process connect to.
        prefix: the command that starts each of them.
        bursts: so many sends are begun at a time.
    """
    folder = Path(plan.folder)
    clients = []
    for number in range(PROCESSES):
        order = ClientOrder(
            urls(number),
            tuple(orders[number::PROCESSES]),
            str(folder / "histories" / f"client-{number}.jsonl"),
            f"{plan.seed} client {number}",
            rate=plan.rate,
            bursts=bursts,
            patience_s=plan.patience_s * plan.slack,
        )
        clients.append(ClientProcess(order, folder, number=number, prefix=prefix(number)))
    return Fleet(clients)
