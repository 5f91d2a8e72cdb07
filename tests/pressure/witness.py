"""A robot that sends as fast as it is answered, reads what comes, and writes all of it into a history.

Bare of the SDK on purpose: nothing is asked again unless the run says so, and an answer that comes twice, or
that nobody waits for, is seen.
"""

import asyncio
import secrets
import time
from typing import Any, Final, cast

from msgspec import Raw, msgpack

from imserver.protocol.client_frames import Ack, Hello, Position, Send
from imserver.protocol.codec import MSGPACK
from imserver.protocol.errors import ErrorCode
from imserver.protocol.server_frames import Bye, Deliver, Error, Gap, Sent, Welcome
from imserver.verify import HistoryWriter, body_sha, records, stored_body_sha
from tests.pressure import wire

_ACK_EVERY: Final = 20


class Witness(asyncio.Protocol):
    """One robot in one group, over any number of connections.

    Attributes:
        acked: cids that were answered with `sent`.
        unknown: cids whose outcome nobody has told, in the order of sending.
        problems: answers that must not have come.
        seq: the last event that was received.
        goodbye: the ``bye`` of the last connection.
    """

    def __init__(self, name: str, conv: str, history: HistoryWriter, *, in_flight: int) -> None:
        self.name = name
        self.acked: set[str] = set()
        self.unknown: list[str] = []
        self.problems: list[str] = []
        self.seq = 0
        self.goodbye: Bye | None = None
        self.closed = asyncio.Event()
        self._upgraded = asyncio.Event()
        self._conv = conv
        self._history = history
        self._in_flight = in_flight
        self._session = secrets.token_hex(8)
        self._sending = False
        self._epoch = ""
        self._ids = self._cids = self._connections = self._acked_seq = 0
        self._waiting: dict[int, str] = {}
        self._welcome: asyncio.Future[Welcome] | None = None
        self._transport = cast(asyncio.Transport, None)
        self._stream = wire.Stream()
        self._history.write(records.SessionOpen(**self._about()))

    async def connect(self, port: int, token: str) -> int:
        """Come online where the last connection ended; return the head of the group's log."""
        loop = asyncio.get_running_loop()
        self._welcome = loop.create_future()
        self._stream, self.goodbye = wire.Stream(), None
        self._upgraded = asyncio.Event()
        self.closed.clear()
        self._connections += 1
        await loop.create_connection(lambda: self, "127.0.0.1", port)
        self._transport.write(wire.upgrade_request(port))
        await self._upgraded.wait()
        resume = {self._conv: Position(self._epoch, self.seq)} if self.seq else {}
        self._transport.write(wire.messages(Hello(self.name, token=token, resume=resume)))
        welcome = await self._welcome
        [state] = welcome.conversations
        self._epoch = state.epoch
        return state.seq

    def begin(self) -> None:
        """Keep a number of new sends in flight from now on."""
        self._sending = True
        self._refill()

    def ask_again(self) -> None:
        """Send everything unknown again, with the same cids, and nothing new."""
        self._sending = False
        again, self.unknown = self.unknown, []
        self._send(again)

    @property
    def waits(self) -> bool:
        """Whether an answer is due on this connection."""
        return bool(self._waiting)

    def end(self) -> None:
        """Close the session, all settled and all received."""
        self._history.write(records.SessionClose(**self._about(), drained=True))
        self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._upgraded.is_set():
            head, _, data = data.partition(b"\r\n\r\n")  # it comes in one piece
            assert head.startswith(b"HTTP/1.1 101 "), head
            self._upgraded.set()
        for first, payload in self._stream.take(data):
            if first == wire.BINARY:
                self._take(MSGPACK.decode_server(payload))
            elif first == wire.PING:
                self._transport.write(wire.message(payload, wire.PONG))
            elif first == wire.CLOSE:
                self._transport.write(wire.message(payload[:2], wire.CLOSE))
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for cid in self._waiting.values():
            self._note("unknown", cid)
            self.unknown.append(cid)
        self._waiting.clear()
        self.closed.set()

    def _take(self, frame: Any) -> None:
        match frame:
            case Sent():
                self._on_sent(frame)
            case Error():
                self._on_error(frame)
            case Deliver():
                self._on_events(frame)
            case Welcome():
                assert self._welcome is not None
                self._welcome.set_result(frame)
            case Bye():
                self.goodbye = frame
                self._sending = False
            case Gap():
                self.problems.append(f"{self.name} was told {frame}")

    def _on_sent(self, sent: Sent) -> None:
        cid = self._waiting.pop(sent.id, None)
        if cid is None:
            self.problems.append(f"{self.name} got an answer that it did not wait for: {sent}")
            return
        self.acked.add(cid)
        known = {"epoch": sent.epoch, "seq": sent.seq, "dup": sent.dup}
        self._note("ok", cid, connection=self._connections, **known)
        self._refill()

    def _on_error(self, error: Error) -> None:
        cid = self._waiting.pop(error.id or 0, None)
        if cid is None:
            self.problems.append(f"{self.name} was told {error}")
        elif error.code is ErrorCode.UNAVAILABLE:
            self._note("unknown", cid)
            self.unknown.append(cid)
            self._sending = False  # it has to come back for more
        else:
            self._note("fail", cid, code=error.code)
            self.problems.append(f"{self.name} was refused: {error}")

    def _on_events(self, frame: Deliver) -> None:
        for event in frame.events:
            if event.seq <= self.seq:
                continue
            self.seq = event.seq
            self._history.write(
                records.Receive(
                    **self._about(),
                    conv=frame.conv,
                    epoch=frame.epoch,
                    seq=event.seq,
                    sender=event.sender,
                    cid=event.cid,
                    kind=event.kind,
                    body_sha=stored_body_sha(event.body),
                )
            )
        if self.seq - self._acked_seq >= _ACK_EVERY and not self._transport.is_closing():
            self._acked_seq = self.seq
            self._history.write(records.Ack(**self._about(), conv=self._conv, seq=self.seq))
            self._transport.write(wire.messages(Ack(self._conv, self.seq)))

    def _refill(self) -> None:
        room = self._in_flight - len(self._waiting)
        if self._sending and room > self._in_flight // 4:
            cids = [f"{self._session}-{self._cids + number}" for number in range(room)]
            self._cids += room
            self._send(cids)

    def _send(self, cids: list[str]) -> None:
        frames = []
        for cid in cids:
            self._ids += 1
            self._waiting[self._ids] = cid
            self._note("invoke", cid, body_sha=body_sha(cid))
            frames.append(Send(self._ids, self._conv, cid, Raw(msgpack.encode(cid))))
        self._transport.write(wire.messages(*frames))

    def _note(self, step: Any, cid: str, **more: Any) -> None:
        about = self._about()
        self._history.write(records.Send(**about, type=step, conv=self._conv, cid=cid, **more))

    def _about(self) -> Any:
        return {"t": time.monotonic(), "client": self.name, "session": self._session}
