"""One robot in ten thousand groups: its welcome, the server's memory, how soon it is level, and who waits.

The robot is away while every group gets a few events, comes back, and receives all of them; an honest robot
pings all the while, so that its longest wait tells how long the server was busy with the other at a stretch.
"""

import threading
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import Raw, Struct, msgpack

from imserver.protocol.client_frames import Ack, CreateGroup, Ping, Send
from imserver.protocol.server_frames import Deliver, Error, Ok, Sent
from tests.pressure.crew import body_of
from tests.pressure.findings import MIB, Findings, mib
from tests.pressure.line import Line, Refused
from tests.pressure.site import Memory, Site

MEMORY_MAX: Final = 64 * MIB
WAIT_MAX_S: Final = 0.25
_OWNERS: Final = 20


class ManyConversations(Struct, frozen=True):
    """The run; in full by default.

    Attributes:
        missed: events that each group gets while the robot is away.
    """

    groups: int = 10_000
    missed: int = 3
    body_bytes: int = 256

    def run(self, folder: Path) -> Findings:
        """Make the groups, let the robot come back, and follow it until it is level and beyond."""
        with Site.open(folder) as site:
            site.line("member").close()
            owners = [site.line(f"owner{n}", auto=False) for n in range(_OWNERS)]
            convs = self._make_groups(owners)
            for _ in range(self.missed):
                _say(owners, convs, body_of(self.body_bytes))
            return self._come_back(site, owners, convs)

    def _come_back(self, site: Site, owners: list[Line], convs: list[str]) -> Findings:
        head, watch = 1 + self.missed, _Watch(site)
        with Memory(site.server) as memory, watch, closing(Line(site.server.port)) as line:
            began = time.monotonic()
            welcome = line.hello("member", site.server.token("member"))
            welcomed = time.monotonic()
            logs = _read_until(line, dict.fromkeys(convs, head))
            level = time.monotonic()
            _say(owners, convs, body_of(self.body_bytes))
            _read_until(line, dict.fromkeys(convs, head + 1), logs)
            live = time.monotonic()
        found = Findings()
        named = {state.conv for state in welcome.conversations}
        found.expect(named == set(convs), "the welcome did not name every conversation")
        size, events = len(msgpack.encode(welcome)), len(convs) * head
        found.show(
            {
                "groups, events missed": f"{len(convs):,}, {events:,}",
                "welcome": f"{mib(size)} after {welcomed - began:.2f} s",
                "level after": f"{level - began:.2f} s ({events / (level - began):,.0f} events/s)",
                "one more event in each, live": f"{live - level:.2f} s",
                "memory grown": mib(memory.grown),
                "longest wait of an honest robot": f"{watch.longest_s * 1_000:.0f} ms",
            }
        )
        found.aim(memory.grown < MEMORY_MAX, f"memory grew by {mib(memory.grown)}")
        found.aim(watch.longest_s < WAIT_MAX_S, f"an honest robot waited {watch.longest_s:.2f} s")
        return found

    def _make_groups(self, owners: list[Line]) -> list[str]:
        """Have each owner make its part of the groups, all at the same time."""
        convs = []
        for start in range(0, self.groups, _OWNERS * 50):
            numbers = range(start, min(start + _OWNERS * 50, self.groups))
            for number in numbers:
                owner = owners[number % _OWNERS]
                owner.tell(CreateGroup(owner.next_id(), f"group-{number:05}", members=["member"]))
            for number in numbers:
                answer = owners[number % _OWNERS].read()
                if not isinstance(answer, Ok):
                    raise Refused(f"{answer}")
            convs += [f"g/group-{number:05}" for number in numbers]
        return convs


class _Watch:
    """An honest robot that pings again as soon as it is answered.

    Attributes:
        longest_s: its longest wait for an answer.
    """

    def __init__(self, site: Site) -> None:
        self.longest_s = 0.0
        self._line = site.line("watch", auto=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self._line.tell(Ping(self._line.next_id()))
            self._line.read()
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            time.sleep(0.001)


def _say(owners: list[Line], convs: list[str], body: bytes) -> None:
    """Have every group's owner say one thing."""
    for start in range(0, len(convs), 1_000):
        part = range(start, min(start + 1_000, len(convs)))
        for number in part:
            owner = owners[number % _OWNERS]
            request_id = owner.next_id()
            owner.tell(Send(request_id, convs[number], f"c{request_id}", Raw(body)))
        for number in part:
            answer = owners[number % _OWNERS].read()
            if not isinstance(answer, Sent):
                raise Refused(f"{answer}")


def _read_until(
    line: Line, heads: dict[str, int], logs: dict[str, int] | None = None
) -> dict[str, int]:
    """Read and ack until every log is at its head; return how far each is."""
    logs = defaultdict(int) if logs is None else logs
    behind = {conv for conv, head in heads.items() if logs[conv] < head}
    while behind:
        frame = line.read()
        if isinstance(frame, Error):
            raise Refused(f"{frame}")
        if isinstance(frame, Deliver):
            for event in frame.events:
                assert event.seq == logs[frame.conv] + 1, f"{frame.conv} has a gap at {event.seq}"
                logs[frame.conv] = event.seq
            line.tell(Ack(frame.conv, logs[frame.conv]))
            if logs[frame.conv] >= heads[frame.conv]:
                behind.discard(frame.conv)
    return logs
