"""A process of robots: ``python -m tests.chaos.client ORDER.json``; phases come in, reports go out."""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from imserver.verify import HistoryWriter
from tests.chaos.member import Member
from tests.chaos.orders import ClientOrder, Report, decode_order, encode
from tests.chaos.past import Past, read_past

REPORT_S = 0.1


class Client:
    """The robots of this process, led through their phases."""

    def __init__(self, order: ClientOrder, history: HistoryWriter, pasts: dict[str, Past]) -> None:
        self._members = [
            Member(order, robot, history=history, past=pasts.get(robot.name, Past()))
            for robot in order.robots
        ]
        self._problems: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow the phases on standard input until ``quit``."""
        lines = await _standard_input()
        reporting = asyncio.create_task(self._report_regularly())
        try:
            while (line := (await lines.readline()).decode().strip()) not in {"", "quit"}:
                await self._enter(line)
                self._report(done=line)
        finally:
            reporting.cancel()
            for task in list(self._tasks):
                task.cancel()

    async def _enter(self, phase: str) -> None:
        match phase:
            case "connect":
                await self._all(Member.connect)
                for member in self._members:
                    self._start(member.read())
            case "create":
                await self._all(Member.create)
            case "send":
                for member in self._members:
                    self._start(member.work())
            case "settle":
                await self._all(Member.settle)
            case "drain":
                await self._all(Member.drain)

    async def _all(self, step: Callable[[Member], Coroutine[Any, Any, None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for member in self._members:
                group.create_task(self._watched(step(member)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._watched(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as problem:  # noqa: BLE001 - whatever it is, the run has to hear of it
            self._problems.append(_shown(problem))

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            self._report()

    def _report(self, *, done: str | None = None) -> None:
        report = Report(done=done, problems=self._problems)
        for member in self._members:
            report.acked += member.acked
            report.refused += member.refused
            report.unknown += member.unknown
            report.changed += member.changes.acked
            report.received += member.received
            report.gaps += member.gaps
            report.acked_at |= _later(member.acked_at, report.acked_at)
            report.reconnects += max(0, member.robot.statistics().connections - 1)
        sys.stdout.buffer.write(encode(report) + b"\n")
        sys.stdout.buffer.flush()


def _later(these: dict[str, float], those: dict[str, float]) -> dict[str, float]:
    return {name: max(t, those.get(name, 0.0)) for name, t in these.items()}


def _shown(problem: BaseException) -> str:
    if isinstance(problem, BaseExceptionGroup):
        return "; ".join(_shown(inner) for inner in problem.exceptions)
    return f"{type(problem).__name__}: {problem}"


async def _standard_input() -> asyncio.StreamReader:
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines


class _Told(logging.Formatter):
    """Shows what the SDK logs with all its facts."""

    def format(self, record: logging.LogRecord) -> str:
        known = vars(logging.makeLogRecord({}))
        facts = {name: value for name, value in vars(record).items() if name not in known}
        return f"{record.levelname} {record.getMessage()} {facts}"


def main() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Told())
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    order = decode_order(Path(sys.argv[1]).read_bytes())
    pasts = read_past(Path(order.history))
    with HistoryWriter(order.history, flush_each=True) as history:
        asyncio.run(Client(order, history, pasts).run())


if __name__ == "__main__":
    main()
