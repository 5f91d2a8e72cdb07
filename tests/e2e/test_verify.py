"""Real robots on a real server that is killed under them: what they wrote down is judged with its store."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from client_sdk import Event, Options, OutcomeUnknown, Robot
from imserver.verify.guarantees import Guarantee
from imserver.verify.history import HistoryWriter
from imserver.verify.raw_log import read_data_directory
from imserver.verify.recorder import Recorder
from imserver.verify.report import Report
from imserver.verify.verifier import verify
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import together

pytestmark = pytest.mark.one_node(reason="it reads the raw log in the files of the embedded store")

OPTIONS = Options(backoff_base_s=0.05, backoff_cap_s=0.2, connect_timeout_s=20.0)
NAMES = ("r1", "r2", "r3")
SENDS = 120
KILL_AFTER = 40
DRAIN_S = 20


class Member:
    """A robot that sends, reads and writes down what it sees."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.seen: dict[str, int] = {}
        self.acked = 0

    async def send_all(self, conv: str) -> None:
        """Send, a few at a time, and ask again for what stayed unknown."""
        slots = asyncio.Semaphore(8)
        async with asyncio.TaskGroup() as group:
            for number in range(SENDS):
                await slots.acquire()
                task = group.create_task(self._send(conv, number))
                task.add_done_callback(lambda _: slots.release())

    async def _send(self, conv: str, number: int) -> None:
        cid = f"{self.recorder.session}-{number}"
        while True:
            with contextlib.suppress(OutcomeUnknown):
                await self.recorder.send(conv, {"n": number}, cid=cid, timeout_s=0.5)
                self.acked += 1
                return

    async def read(self) -> None:
        """Take events until the robot is closed."""
        async for item in self.recorder.events():
            if isinstance(item, Event):
                self.seen[item.conv] = item.seq

    async def has_everything(self) -> None:
        """Return when all that its groups hold has come."""
        async with asyncio.timeout(DRAIN_S):
            heads = {row.conv: row.seq for row in await self.recorder.robot.groups()}
            while any(self.seen.get(conv, 0) < head for conv, head in heads.items()):
                await asyncio.sleep(0.01)


async def kill_under_load(server: ServerProcess, members: list[Member]) -> None:
    for round_ in (1, 2):
        while sum(member.acked for member in members) < round_ * KILL_AFTER:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(server.restart)


async def record_a_run(server: ServerProcess, folder: Path) -> None:
    """Let robots talk while the server is killed twice, then heal, drain and stop."""
    async with contextlib.AsyncExitStack() as stack:
        members = []
        for name in NAMES:
            history = stack.enter_context(HistoryWriter(folder / f"{name}.jsonl", flush_each=True))
            robot = Robot(
                server.ws_url,
                name=name,
                key=folder / f"{name}.key",
                token=server.enroll(name),
                options=OPTIONS,
            )
            await stack.enter_async_context(robot)
            members.append(Member(Recorder(robot, history)))
        conv = await members[0].recorder.create_group("dock", list(NAMES[1:]))
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(member.read()) for member in members]
            await together(
                kill_under_load(server, members), *(member.send_all(conv) for member in members)
            )
            await members[2].recorder.leave(conv)
            await members[0].recorder.send(conv, "without r3")
            await together(*(member.has_everything() for member in members))
            await members[0].recorder.note_cursor(conv)
            for member, reader in zip(members, readers, strict=True):
                await member.recorder.robot.aclose()
                await reader
                member.recorder.close(drained=True)
    assert await asyncio.to_thread(server.stop) == 0


def judge(folder: Path, server: ServerProcess) -> Report:
    return verify([folder], read_data_directory(server.data))


@pytest.mark.process
async def test_a_run_with_a_server_that_is_killed_is_clean_and_a_missing_line_is_noticed(
    server: ServerProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "histories"
    folder.mkdir()
    await record_a_run(server, folder)
    report = judge(folder, server)
    assert report.clean, report.to_text()
    assert report.of(Guarantee.G1).count >= len(NAMES) * SENDS
    assert report.of(Guarantee.G10).count == 2
    assert [row.guarantee for row in report.guarantees if not row.count] == []

    history = folder / "r2.jsonl"
    lines = history.read_bytes().splitlines(keepends=True)
    received = [n for n, line in enumerate(lines) if line.startswith(b'{"op":"receive"')]
    del lines[received[len(received) // 2]]
    history.write_bytes(b"".join(lines))
    assert judge(folder, server).violated() == {"G9"}
