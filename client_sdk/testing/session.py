"""A robot's connection to the server in memory: its handshake, and what it is delivered."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from client_sdk.errors import Refused
from client_sdk.testing.conversations import MemoryConversation
from client_sdk.testing.pipe import MemoryTransport
from imserver.protocol import server_frames as wire
from imserver.protocol.client_frames import Ack, ClientFrame, Hello, Position, Prove, Register
from imserver.protocol.codec import MSGPACK
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.events import Event

if TYPE_CHECKING:
    from client_sdk.testing.node import Node

PAGE_EVENTS_MAX = 256


class MemorySession:
    """One connection; it is online once ``robot`` is set."""

    def __init__(
        self,
        node: "Node",
        transport: MemoryTransport,
        handle: Callable[["MemorySession", ClientFrame], None],
    ) -> None:
        self._node = node
        self._handle = handle
        self._transport = transport
        self._hello: Hello | None = None
        self._places: dict[str, tuple[int, int]] = {}  # by conversation: sent, acked
        self.robot: str | None = None
        self.device = ""

    def on_message(self, message: bytes) -> None:
        frame = MSGPACK.decode_client(message)
        match frame:
            case Register():
                self._register(frame)
            case Hello():
                self._hello = frame
                if frame.token is None:
                    self.write(wire.Challenge(nonce="nonce", server="memory"))
                else:
                    self._welcome(frame)
            case Prove() if self._hello is not None:
                if self._node.verify(self._hello, frame.signature):
                    self._welcome(self._hello)
                else:
                    problem = "the robot is not registered with this key; register it first"
                    self.write(wire.Error(ErrorCode.UNAUTHENTICATED, problem, fatal=True))
                    self._transport.cut(CloseCode.UNAUTHENTICATED, "unauthenticated")
            case Ack():
                self._ack(frame)
            case _:
                self._handle(self, frame)

    def on_closed(self) -> None:
        self._node.leave(self)

    def write(self, frame: Struct) -> None:
        """Hand the robot a frame."""
        self._transport.push(MSGPACK.encode(frame))

    def cut(self, code: int, reason: str) -> None:
        """Break the connection."""
        self._transport.cut(code, reason)

    def follow(self, conversation: MemoryConversation, after: int) -> None:
        """Deliver a conversation from after ``after`` on."""
        self._places[conversation.name] = (after, after)
        self.feed(conversation)

    def follow_new(self, conversation: MemoryConversation) -> None:
        """Deliver a conversation that the robot has just become a member of."""
        is_auto = self._hello is not None and self._hello.auto
        if is_auto and self.robot in conversation.members and conversation.name not in self._places:
            since = conversation.since.get(self.robot or "", 1)
            self._places[conversation.name] = (since - 1, since - 1)

    def unfollow(self, conv: str) -> None:
        """Deliver a conversation no longer."""
        self._places.pop(conv, None)

    def feed(self, conversation: MemoryConversation) -> None:
        """Deliver what is there and fits in the window."""
        place = self._places.get(conversation.name)
        if place is None or self._hello is None:
            return
        sent, acked = place
        if sent < conversation.floor:
            self._tell_gap(conversation, sent + 1)
            sent, acked = conversation.floor, max(acked, conversation.floor)
        while events := self._page(conversation, sent, acked):
            self.write(wire.Deliver(conversation.name, conversation.epoch, events))
            sent = events[-1].seq
        self._places[conversation.name] = (sent, acked)

    def _page(self, conversation: MemoryConversation, sent: int, acked: int) -> list[Event]:
        window = self._hello.window if self._hello is not None else 1
        room = min(PAGE_EVENTS_MAX, window - (sent - acked))
        return conversation.after(sent, room) if room > 0 else []

    def _tell_gap(self, conversation: MemoryConversation, first: int) -> None:
        gap = wire.Gap(
            conversation.name,
            conversation.epoch,
            from_=first,
            to=conversation.floor,
            why="retention",
        )
        self.write(gap)

    def _register(self, frame: Register) -> None:
        try:
            self._node.register(frame.robot, frame.public_key)
        except Refused as exc:
            self.write(wire.Error(exc.code, exc.message, fatal=False, id=frame.id))
        else:
            self.write(wire.Ok(frame.id))

    def _ack(self, frame: Ack) -> None:
        place = self._places.get(frame.conv)
        if place is not None and self.robot is not None and frame.seq > place[1]:
            self._places[frame.conv] = (place[0], frame.seq)
            self._node.ack(self.robot, self.device, frame)
            self.feed(self._node.conversations.get(frame.conv))

    def _welcome(self, hello: Hello) -> None:
        self.robot, self.device = hello.robot, hello.device
        self.write(self._node.enter(self))
        for conversation in self._node.conversations.of(hello.robot) if hello.auto else []:
            stored = self._node.cursor(hello.robot, hello.device, conversation)
            position = hello.resume.get(conversation.name)
            self.follow(conversation, self._start(conversation, position, stored))

    def _start(
        self, conversation: MemoryConversation, position: Position | None, stored: int
    ) -> int:
        if position is None:
            return stored
        is_known = position.epoch == conversation.epoch
        if is_known and position.seq <= conversation.head:
            return position.seq
        why = "ahead" if is_known else "restored"
        self.write(
            wire.Gap(
                conversation.name, conversation.epoch, from_=stored + 1, to=position.seq, why=why
            )
        )
        return stored
