"""A robot's program with a memory, to be killed: it sends numbered bodies and writes down what it reads.

    python robot_program.py URL NAME KEY MEMORY CONV JOURNAL SENDS [sealed]

Before each send it writes ``will <cid>``, after the answer ``sent <seq> <cid>``; for each event ``saw <epoch>
<seq> <cid>``, before it says that it is done, and ``unopened <seq> <why>`` if it was sealed and stayed so.
Bodies go on where the journal stops, so that each process adds new ones. It ends when all are stored and the
last event of the log was read.
"""

import asyncio
import os
import sys
from pathlib import Path

from client_sdk import Options, OutcomeUnknown, Refused, Robot, Sealing, Unopened

IN_FLIGHT = 8
QUICK = Options(backoff_base_s=0.02, backoff_cap_s=0.2)


class Journal:
    """An application's own store: appended lines, each in one write, which a kill cannot tear."""

    def __init__(self, path: Path) -> None:
        self.lines = path.read_text().splitlines() if path.exists() else []
        self.seen = max([0, *(int(line.split()[2]) for line in self.lines if line[:4] == "saw ")])
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, line: str) -> None:
        os.write(self._descriptor, f"{line}\n".encode())


async def talk(robot: Robot, conv: str, journal: Journal, sends: int) -> None:
    started = sum(line.startswith("will ") for line in journal.lines)
    numbers = iter(range(started, sends))

    async def talk_on() -> None:
        for n in numbers:
            cid = f"{robot.name}-{n}"
            journal.note(f"will {cid}")
            try:
                sent = await robot.send(conv, {"n": n, "by": robot.name}, cid=cid, timeout_s=0.5)
            except OutcomeUnknown:
                continue  # it waits in the memory
            except Refused:
                continue  # there was no server to take the sender key
            journal.note(f"sent {sent.seq} {cid}")

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(talk_on())
    while robot.waiting():
        await asyncio.sleep(0.02)


async def listen(robot: Robot, journal: Journal) -> None:
    async for event in robot.events():
        if isinstance(event.body, Unopened):
            journal.note(f"unopened {event.seq} {event.body.why}")
        journal.note(f"saw {event.epoch} {event.seq} {event.cid}")
        journal.seen = event.seq


async def main() -> None:
    url, name, key, memory, conv, journal_path, sends, *sealed = sys.argv[1:]
    journal = Journal(Path(journal_path))
    sealing = Sealing(messages_max=20) if sealed else None
    async with Robot(
        url, name=name, key=key, memory=memory, sealed=sealing, options=QUICK
    ) as robot:
        listening = asyncio.create_task(listen(robot, journal))
        await talk(robot, conv, journal, int(sends))
        head = (await robot.history(conv, limit=1))[-1].seq
        while journal.seen < head:
            await asyncio.sleep(0.02)
        listening.cancel()


if __name__ == "__main__":
    asyncio.run(main())
