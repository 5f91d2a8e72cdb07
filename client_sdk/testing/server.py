"""The server in memory, and the ways in which it can be asked to fail."""

from typing import Any

import msgspec
from msgspec import Raw

from client_sdk.clock import wall_clock_ms
from client_sdk.errors import Refused
from client_sdk.options import Options
from client_sdk.records import Event
from client_sdk.robot import Robot
from client_sdk.testing.node import Node
from client_sdk.testing.pipe import MemoryTransport
from client_sdk.testing.requests import Requests
from client_sdk.testing.session import MemorySession
from client_sdk.transport import Transport, TransportClosed
from imserver.protocol import events, names
from imserver.protocol import server_frames as wire
from imserver.protocol.client_frames import ClientFrame, Send
from imserver.protocol.events import Event as WireEvent
from imserver.protocol.limits import Limits

URL = "ws://memory"
BROKEN = 1006


class MemoryServer:
    """A server that lives in the test's own process and event loop; it is a `Connector`.

    Any bearer token is good, and any enrolment token registers a key.

    Attributes:
        reachable: while false, nobody can connect.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._node = Node(limits or Limits())
        self._requests = Requests(self._node)
        self.reachable = True
        self._answers_to_lose = 0
        self._refusals: list[Refused] = []
        self._posted = 0

    # For tests.

    def robot(self, name: str, *, device: str = "main", options: Options | None = None) -> Robot:
        """Return a robot that talks through this server."""
        self._node.know(name)
        return Robot(URL, name=name, bearer="any", device=device, options=options, connector=self)

    def add_group(self, name: str, members: list[str]) -> str:
        """Make a group, the first of ``members`` its owner, and return its conversation."""
        owner, *others = members
        for robot in members:
            self._node.know(robot)
        conversation = self._node.conversations.create(names.group(name), owner, others, open=False)
        body = {"members": conversation.members, "open": False}
        conversation.append(conversation.change(events.GROUP_CREATED, owner, body))
        self._node.spread(conversation)
        return conversation.name

    def post(self, conv: str, body: Any, *, sender: str, kind: str = "message") -> int:
        """Store an event as if ``sender`` had sent it; return its seq."""
        conversation = self._node.conversations.get(conv)
        self._posted += 1
        raw = Raw(msgspec.msgpack.encode(body))
        event = WireEvent(0, int(wall_clock_ms()), sender, f"posted-{self._posted}", kind, raw)
        stored, _ = conversation.append(event)
        self._node.spread(conversation)
        return stored.seq

    def log(self, conv: str) -> list[Event]:
        """Return the whole log of a conversation."""
        conversation = self._node.conversations.get(conv)
        decode = msgspec.msgpack.decode
        return [
            Event(
                conv,
                conversation.epoch,
                e.seq,
                e.ts,
                e.sender,
                e.cid,
                e.kind,
                e.ref,
                decode(e.body),
            )
            for e in conversation.after(0, conversation.head)
        ]

    def acked(self, robot: str, conv: str, *, device: str = "main") -> int:
        """Return the seq up to which a device has said that it is done; 0 if it never did."""
        return self._node.cursors.get((robot, device, conv), 0)

    def cut_connections(self) -> None:
        """Break every connection, as a network does; robots may come back at once."""
        for session in list(self._node.sessions):
            session.cut(BROKEN, "the network broke")

    def close_connections(
        self, code: int, reason: str, *, retry_after_ms: int | None = None
    ) -> None:
        """Say goodbye to every robot with a close code and close."""
        for session in list(self._node.sessions):
            session.write(wire.Bye(code, reason, retry_after_ms))
            session.cut(code, reason)

    def lose_answers(self, count: int) -> None:
        """Store the next ``count`` sends, and break their connections instead of answering."""
        self._answers_to_lose = count

    def refuse_sends(self, *refusals: Refused) -> None:
        """Answer the next sends with these refusals, one each."""
        self._refusals.extend(refusals)

    def forget_events(self, conv: str, through: int) -> None:
        """Lose a log's events up to ``through``, as retention does."""
        self._node.conversations.get(conv).floor = through

    def restore(self, conv: str, through: int, *, new_epoch: bool = True) -> None:
        """Lose a log's events behind ``through``, as a server does that is restored from a backup.

        Every connection breaks. Without a new epoch it is a server that lost its tail and does not know.
        """
        conversation = self._node.conversations.get(conv)
        epoch = f"{conversation.epoch}+" if new_epoch else conversation.epoch
        conversation.cut_back(through, epoch)
        cursors = self._node.cursors
        for key, seq in cursors.items():
            if key[2] == conv:
                cursors[key] = min(seq, through)
        self.cut_connections()

    # For the robots' connections.

    async def connect(self, *, frame_bytes_max: int) -> Transport:
        if not self.reachable:
            raise TransportClosed(BROKEN, "the server in memory is not reachable")
        transport = MemoryTransport(frame_bytes_max=frame_bytes_max)
        transport.attach(MemorySession(self._node, transport, self._handle))
        return transport

    def _handle(self, session: MemorySession, frame: ClientFrame) -> None:
        """Carry out a request, or fail at it as it was asked to."""
        try:
            if isinstance(frame, Send) and self._refusals:
                raise self._refusals.pop(0)
            answer = self._requests.handle(session, frame)
        except Refused as exc:
            request_id = getattr(frame, "id", None)
            error = wire.Error(
                exc.code, exc.message, fatal=False, id=request_id, retry_after=exc.retry_after_ms
            )
            session.write(error)
            return
        if isinstance(frame, Send) and self._answers_to_lose:
            self._answers_to_lose -= 1
            session.cut(BROKEN, "the network broke before the answer")
        elif answer is not None:
            session.write(answer)
