"""Writes the history of a `client_sdk.Robot` while an application uses it.

    with HistoryWriter("r1.jsonl", flush_each=True) as history:
        async with Robot(…) as robot:
            recorder = Recorder(robot, history)
            await recorder.send("g/dock", {"task": "pick"})
            async for event in recorder.events():
                …
        recorder.close(drained=True)

The record of a step is handed to the operating system before what follows from it happens, if the writer
flushes each: then the client may be killed at any moment. What is done with the robot past the recorder is
not in the history, and will look like the server's invention.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from client_sdk import Event, Gap, OutcomeUnknown, Refused, Robot, Sent, State
from client_sdk.records import Statistics
from imserver.protocol.events import GROUP_CREATED, MESSAGE, SEQ_MAX
from imserver.verify import records
from imserver.verify.body_hash import body_sha
from imserver.verify.history import HistoryWriter
from imserver.verify.records import Position, Record

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Recorder:
    """A robot whose every step is written down.

    Args:
        robot: the robot; need not be online yet.
        history: where to write.
        device, auto, admin: as the robot was made.
        resume: what the application knows of an earlier life and goes on from, if it does.
        now_s: the clock.

    Attributes:
        session: this life's name.
    """

    def __init__(
        self,
        robot: Robot,
        history: HistoryWriter,
        *,
        device: str = "main",
        auto: bool = True,
        admin: bool = False,
        resume: Mapping[str, Position] | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.robot = robot
        self.session = secrets.token_hex(8)
        self._history = history
        self._now_s = now_s
        self._sends = 0
        self._without_outcome: set[tuple[str, str]] = set()
        self._write(
            records.SessionOpen,
            device=device,
            clock=machine_clock(),
            auto=auto,
            admin=admin,
            resume=dict(resume or {}),
        )

    async def send(
        self,
        conv: str,
        body: object,
        *,
        kind: str = MESSAGE,
        ref: int | None = None,
        cid: str | None = None,
        timeout_s: float = 30.0,
    ) -> Sent:
        """Send as `Robot.send` does, and record how it ends."""
        self._sends += 1
        cid = cid or f"{self.session}-{self._sends}"
        self._write(
            records.Send,
            type="invoke",
            conv=conv,
            cid=cid,
            kind=kind,
            ref=ref,
            body_sha=body_sha(body),
        )
        before = self.robot.statistics()
        is_new = (conv, cid) not in self._without_outcome and not any(
            (kept.conv, kept.cid) == (conv, cid) for kept in self.robot.waiting()
        )
        try:
            sent = await self.robot.send(
                conv, body, kind=kind, ref=ref, cid=cid, timeout_s=timeout_s
            )
        except BaseException as exc:
            outcome = _outcome(exc)
            self._write(records.Send, conv=conv, cid=cid, **outcome)
            if outcome["type"] == "unknown":
                # What is answered later may be what was sent now, ahead of others.
                self._without_outcome.add((conv, cid))
            raise
        self._write(
            records.Send,
            type="ok",
            conv=conv,
            cid=cid,
            epoch=sent.epoch,
            seq=sent.seq,
            dup=sent.dup,
            connection=_connection(before, self.robot.statistics()) if is_new else None,
        )
        return sent

    async def events(self) -> AsyncIterator[Event | Gap]:
        """Yield what `Robot.events` gives, gaps too; an event is recorded before it can be acked."""
        async for item in self.robot.events(gaps=True):
            if isinstance(item, Gap):
                self._write(
                    records.Gap,
                    conv=item.conv,
                    epoch=item.epoch,
                    from_=item.first,
                    to=item.last,
                    why=item.why,
                    after=item.after,
                )
            else:
                self._write(records.Receive, **_fields(item))
            yield item

    async def history(self, conv: str, *, after: int, limit: int = 100) -> list[Event]:
        """Return a page of the log as `Robot.history` does, and record what it says."""
        page = await self.robot.history(conv, after=after, limit=limit)
        for event in page:
            self._write(records.Read, **_fields(event))
        return page

    async def follow(self, conv: str, *, after: int | None = None) -> int:
        """Receive a conversation as `Robot.follow` does."""
        if after is None:
            newest = await self.robot.history(conv, before=SEQ_MAX, limit=1)
            after = newest[-1].seq if newest else 0
        self._write(records.Follow, conv=conv, after=after)
        return await self.robot.follow(conv, after=after)

    async def create_group(self, name: str, members: list[str]) -> str:
        """Create a group as `Robot.create_group` does."""
        conv = f"g/{name}"
        self._write(records.Change, type="invoke", conv=conv, kind=GROUP_CREATED)
        try:
            await self.robot.create_group(name, members)
        except BaseException as exc:
            self._write(records.Change, conv=conv, kind=GROUP_CREATED, **_outcome(exc))
            raise
        self._write(records.Change, type="ok", conv=conv, kind=GROUP_CREATED, seq=1)
        return conv

    async def join(self, conv: str) -> int:
        """Join a group as `Robot.join` does."""
        self._write(records.Join, type="invoke", conv=conv)
        try:
            seq = await self.robot.join(conv)
        except BaseException as exc:
            self._write(records.Join, conv=conv, **_outcome(exc))
            raise
        self._write(records.Join, type="ok", conv=conv, seq=seq)
        return seq

    async def leave(self, conv: str) -> int:
        """Leave a group as `Robot.leave` does."""
        self._write(records.Leave, type="invoke", conv=conv)
        try:
            seq = await self.robot.leave(conv)
        except BaseException as exc:
            self._write(records.Leave, conv=conv, **_outcome(exc))
            raise
        self._write(records.Leave, type="ok", conv=conv, seq=seq)
        return seq

    async def note_cursor(self, conv: str) -> int:
        """Ask the server for its robot's cursor, record and return it; for robots with one device."""
        rows = await self.robot.members(conv)
        acked = next((row.acked for row in rows if row.robot == self.robot.name), 0)
        self._write(records.Ack, type="ok", conv=conv, seq=acked)
        return acked

    def close(self, *, drained: bool = False) -> None:
        """Record that the session ends; the robot is closed already. ``drained``: when nobody changed
        anything any more, there was time for all that was due."""
        self._write(records.SessionClose, drained=drained)
        self._history.flush()

    def _write(self, step: type[Record], /, **fields: Any) -> None:
        self._history.write(
            step(t=self._now_s(), client=self.robot.name, session=self.session, **fields)
        )


def machine_clock() -> str:
    """Return a name for this machine's monotonic clock, which begins anew with each boot; empty if the
    system does not tell."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _outcome(error: BaseException) -> dict[str, str]:
    """Return the fields of the outcome of a request that ended with an error."""
    match error:
        case Refused(code=code):
            return {"type": "fail", "code": code}
        case OutcomeUnknown():
            return {"type": "unknown"}
        case ValueError() | TypeError():
            return {"type": "fail", "code": "not_sent"}
    return {"type": "unknown"}


def _connection(before: Statistics, after: Statistics) -> int | None:
    """Return on which connection a send was written, if it was written there and only once."""
    seen = (before.state, before.connections, before.resent)
    return after.connections if seen == (State.ONLINE, after.connections, after.resent) else None


def _fields(event: Event) -> dict[str, Any]:
    return {
        "conv": event.conv,
        "epoch": event.epoch,
        "seq": event.seq,
        "sender": event.sender,
        "cid": event.cid,
        "kind": event.kind,
        "ref": event.ref,
        "body_sha": body_sha(event.body),
    }
