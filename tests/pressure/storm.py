"""``make storm``: thousands of robots come back at one moment, after their server was killed.

The story. Robots, each with a key of its own, are online in groups of a hundred and in one group of all. The
server is killed with SIGKILL, started again, and events are stored that every robot has missed. Then all
robots connect at the same instant, without any jitter: the worst that can come. From the second attempt on
they wait as the SDK does. Meanwhile others send at a fixed rate. When everybody has everything, the server is
told to end with SIGTERM, and the robots are asked to come back one after the other.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from tests.e2e.server_process import ServerProcess
from tests.pressure.findings import Findings
from tests.pressure.storm_crowd import Order, Plan, Report, at
from tests.pressure.storm_senders import Staff

ROOT: Final = Path(__file__).parents[2]
EVERYBODY: Final = "all"
PATIENCE_S: Final = 120.0
BACK_S: Final = 30.0
"""Goals: all are level in that time, …"""
WELCOME_S: Final = 2.0
"""… 99 in 100 who are let in wait no longer from connecting to their welcome, …"""
SLOWER: Final = 5.0
"""… and sends take no longer than so many times what they took before."""

T = TypeVar("T")


class Shape(Struct, frozen=True, kw_only=True):
    """How large a storm is.

    Attributes:
        team: robots in a group.
        missed: events that each group's robots have missed; the group of all has as many.
        per_s: messages a second that are sent during the storm.
        calm_s: seconds of the same load before it, for comparison.
    """

    robots: int
    team: int = 100
    missed: int = 20
    per_s: float = 20.0
    senders: int = 10
    calm_s: float = 5.0
    seed: str = "storm"


class CrowdProcess:
    """The process that plays the robots."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def playing(cls, plan: Plan) -> AsyncIterator["CrowdProcess"]:
        """Play the robots of a plan while the block runs."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.pressure.storm_crowd"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        try:
            crowd = cls(process)
            await crowd._tell(plan)
            yield crowd
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def obey(self, do: str, **given: Any) -> Report:
        """Give an order and return the report."""
        line = await self._tell(Order(do, PATIENCE_S, **given))
        return msgspec.json.decode(line, type=Report)

    async def _tell(self, message: Struct) -> bytes:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(msgspec.json.encode(message) + b"\n")
        line = await stdout.readline()
        if not line:
            raise RuntimeError(f"the crowd ended with {await self._process.wait()}")
        return line


class Storm:
    """One storm against one server, which it starts."""

    def __init__(self, shape: Shape, server: ServerProcess) -> None:
        self._shape = shape
        self._server = server
        self._robots = [f"r{number}" for number in range(shape.robots)]
        self._teams = {
            f"team{start // shape.team}": self._robots[start : start + shape.team]
            for start in range(0, shape.robots, shape.team)
        }
        self._staff = Staff([*self._teams, EVERYBODY], shape.senders)
        self._found = Findings()

    async def raise_(self) -> Findings:
        """Raise it, and return what came of it."""
        self._server.start()
        plan = Plan(self._server.port, str(self._server.data), self._robots, seed=self._shape.seed)
        async with CrowdProcess.playing(plan) as crowd:
            calm_s = await self._calm(crowd)
            self._server.kill()
            await crowd.obey("leave")
            self._server.start()
            await self._open_staff()
            await self._staff.backlog(self._shape.missed)
            await self._let_loose(crowd, calm_s)
            await self._staff.aclose()
            await self._drain(crowd)
        for line in self._server.tracebacks():
            self._found.expect(kept=False, promise=f"no error of the server's own: {line}")
        return self._found

    async def _open_staff(self) -> None:
        tokens = [self._server.token(name) for name in self._staff.names]
        await self._staff.open(self._server.ws_url, tokens)

    async def _calm(self, crowd: CrowdProcess) -> list[float]:
        """Let everybody come one after the other, and return the latencies of sends among them."""
        began_s = time.monotonic()
        report = await crowd.obey("arrive")
        self._expect(report, "comes online")
        took_s = time.monotonic() - began_s
        await self._open_staff()
        await self._staff.create({**self._teams, EVERYBODY: self._robots})
        self._expect(
            await crowd.obey("settle", heads=await self._staff.heads()), "hears of its groups"
        )
        latencies: list[float] = []
        await self._working(latencies, asyncio.sleep(self._shape.calm_s))
        await self._staff.aclose()
        self._found.show(
            {
                "robots": f"{self._shape.robots} in groups of {self._shape.team} and one of all",
                "first arrival, 32 at a time": f"{took_s:.1f} s",
                "server's memory with all online": f"{peak_mib(self._server.pid):.0f} MiB",
            }
        )
        return latencies

    async def _let_loose(self, crowd: CrowdProcess, calm_s: list[float]) -> None:
        latencies: list[float] = []
        cpu_s = _cpu_s(self._server.pid)
        report = await self._working(latencies, crowd.obey("storm"))
        cpu_s = _cpu_s(self._server.pid) - cpu_s
        self._expect(report, "is level again")
        self._expect(
            await crowd.obey("settle", heads=await self._staff.heads()), "gets the last event"
        )
        self._show(report)
        before_s, during_s = at(sorted(calm_s), 99), at(sorted(latencies), 99)
        self._found.show(
            {
                f"{len(latencies)} sends meanwhile, p99 and longest": (
                    f"{during_s * 1e3:.1f} ms, {max(latencies) * 1e3:.0f} ms"
                ),
                "p99 of sends before the storm": f"{before_s * 1e3:.1f} ms",
                "processor time of the server, of the crowd": f"{cpu_s:.1f} s, {report.cpu_s:.1f} s",
                "most memory of the server": f"{peak_mib(self._server.pid):.0f} MiB",
                "descriptors of the server": f"{self._server.descriptors()}",
            }
        )
        self._found.aim(
            during_s <= SLOWER * before_s,
            f"sends during the storm take at most {SLOWER:g} times as long as before",
        )

    async def _drain(self, crowd: CrowdProcess) -> None:
        began_s = time.monotonic()
        self._server.terminate()
        report = await crowd.obey("leave")
        status = await asyncio.to_thread(self._server.wait_stopped)
        self._expect(report, "is sent home")
        self._found.expect(status == 0, f"the server ends with status 0, and it was {status}")
        a_second = [report.returns.get(second, 0) for second in range(max(report.returns) + 1)]
        mean = self._shape.robots / sum(count > 0 for count in a_second)
        self._found.show(
            {
                "told to end: the server took": f"{time.monotonic() - began_s:.1f} s",
                "robots that come back in each second after": " ".join(map(str, a_second)),
            }
        )
        self._found.expect(max(a_second) <= 2 * mean, "at most twice the mean comes in a second")

    def _show(self, report: Report) -> None:
        half, most, last = report.level_s
        outcomes = sorted(report.outcomes.items())
        seconds = range(max(report.openings, default=0) + 1)
        greetings = [f"{seconds * 1e3:.0f} ms" for seconds in report.greeting_s]
        self._found.show(
            {
                f"level again after {self._shape.missed} missed events in each group": (
                    f"half {half:.1f} s, 99 % {most:.1f} s, all {last:.1f} s"
                ),
                "attempts": ", ".join(f"{count} {how}" for how, count in outcomes),
                "welcomed in each second": " ".join(
                    str(report.openings.get(second, 0)) for second in seconds
                ),
                "from connect to welcome, p50, p99, longest": ", ".join(greetings),
            }
        )
        self._found.aim(last <= BACK_S, f"all are level within {BACK_S:g} s")
        self._found.aim(
            report.greeting_s[1] <= WELCOME_S,
            f"99 % of those let in are welcome within {WELCOME_S:g} s",
        )

    async def _working(self, latencies: list[float], until: Awaitable[T]) -> T:
        working = asyncio.create_task(self._staff.work(self._shape.per_s, latencies))
        try:
            result = await until
            if working.done():
                working.result()
            return result
        finally:
            working.cancel()
            await asyncio.wait([working])

    def _expect(self, report: Report, what: str) -> None:
        patience = f"within {PATIENCE_S:g} s; {report.level} of {self._shape.robots} were level"
        self._found.expect(report.done, f"everybody {what} {patience}")
        self._found.expect(
            report.broken is None, f"no robot sees what must not be: {report.broken}"
        )


def peak_mib(pid: int) -> float:
    """Return the most memory that a process has held, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/status has no VmHWM line")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _folder(path: str) -> Iterator[Path]:
    if path:
        Path(path).mkdir(parents=True, exist_ok=True)
        yield Path(path)
    else:
        (ROOT / "build").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="storm-", dir=ROOT / "build") as folder:
            yield Path(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Raise a storm, tell what came of it, and return 1 if a promise was broken; a missed goal is none."""
    parser = argparse.ArgumentParser(prog="python -m tests.pressure.storm", description=__doc__)
    parser.add_argument("--robots", type=int, default=5_000)
    parser.add_argument("--missed", type=int, default=20, help="events missed in each group")
    parser.add_argument("--per-s", type=float, default=20.0, help="messages a second meanwhile")
    parser.add_argument("--seed", default="storm", help="seed of the robots' waits")
    parser.add_argument("--folder", default="", help="keep the server's data and log here")
    parser.add_argument("--set", action="append", default=[], help="a setting of the server")
    options = parser.parse_args(arguments)
    shape = Shape(
        robots=options.robots, missed=options.missed, per_s=options.per_s, seed=options.seed
    )
    with _folder(options.folder) as folder:
        given = [part for setting in options.set for part in ("--set", setting)]
        server = ServerProcess(folder / "data", arguments=given)
        try:
            found = asyncio.run(Storm(shape, server).raise_())
        finally:
            if server.running:
                server.stop()
    print(found)
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
