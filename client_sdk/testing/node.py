"""The node behind the server in memory: who is known, who is online, and how far everybody has come."""

from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Raw

from client_sdk.clock import wall_clock_ms
from client_sdk.errors import Refused
from client_sdk.testing.conversations import Conversations, MemoryConversation
from client_sdk.testing.session import MemorySession
from imserver.protocol import names
from imserver.protocol import server_frames as wire
from imserver.protocol.client_frames import Ack, Hello
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.limits import Limits
from imserver.protocol.proof import signed_text

SERVER: Final = "memory"
"""The id that it shows."""


class Node:
    """The state that all connections share.

    Attributes:
        limits: what robots are told and held to.
        conversations: the logs.
        sessions: the robots that are online, by connection.
        cursors: by (robot, device, conversation), how far it has come.
        registered_ms: the known robots, with the time when they became known.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.conversations = Conversations()
        self.sessions: list[MemorySession] = []
        self.registered_ms: dict[str, int] = {}
        self.keys: dict[str, bytes] = {}
        self.cursors: dict[tuple[str, str, str], int] = {}
        self._revision = 0

    def know(self, robot: str) -> None:
        """Note that a robot exists."""
        self.registered_ms.setdefault(names.robot_name(robot), int(wall_clock_ms()))

    def register(self, robot: str, public_key: bytes) -> None:
        """Bind a name to a key.

        Raises:
            Refused: ``exists``.
        """
        if robot in self.keys:
            raise Refused(ErrorCode.EXISTS, f"{robot} is registered; say hello with its key")
        self.know(robot)
        self.keys[robot] = public_key

    def verify(self, hello: Hello, signature: bytes) -> bool:
        """Tell whether the robot proved that it has its key."""
        key = self.keys.get(hello.robot)
        if key is None:
            return False
        text = signed_text(server=SERVER, nonce="nonce", robot=hello.robot, device=hello.device)
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
        except InvalidSignature:
            return False
        return True

    def enter(self, session: MemorySession) -> wire.Welcome:
        """Take in a session that proved who it is; one of the same device before it is replaced."""
        robot, device = session.robot or "", session.device
        self.know(robot)
        for other in list(self.sessions):
            if (other.robot, other.device) == (robot, device):
                other.write(wire.Bye(CloseCode.REPLACED, "there is a newer session"))
                other.cut(CloseCode.REPLACED, "there is a newer session")
        came = not self.is_online(robot)
        self.sessions.append(session)
        if came:
            self._tell_presence(robot, online=True)
        return wire.Welcome(
            session="memory",
            robot=robot,
            device=device,
            now=int(wall_clock_ms()),
            node="memory",
            limits=self.limits,
            conversations=[
                wire.ConversationState(
                    each.name, each.epoch, each.head, self.cursor(robot, device, each)
                )
                for each in self.conversations.of(robot)
            ],
            server=SERVER,
        )

    def leave(self, session: MemorySession) -> None:
        """Let a session go."""
        if session in self.sessions:
            self.sessions.remove(session)
            if session.robot is not None and not self.is_online(session.robot):
                self._tell_presence(session.robot, online=False)

    def ack(self, robot: str, device: str, frame: Ack) -> None:
        """Move a device's cursor."""
        self.cursors[(robot, device, frame.conv)] = frame.seq

    def cursor(self, robot: str, device: str, conversation: MemoryConversation) -> int:
        """Return the seq behind which delivery to a device begins."""
        mine = self.cursors.get((robot, device, conversation.name))
        if mine is not None:
            return mine
        furthest = self.furthest(robot, conversation.name)
        return furthest or conversation.since.get(robot, 1) - 1

    def furthest(self, robot: str, conv: str) -> int:
        """Return the furthest cursor of a robot's devices; 0 if none ever acked."""
        return max(
            (seq for (who, _, what), seq in self.cursors.items() if (who, what) == (robot, conv)),
            default=0,
        )

    def spread(self, conversation: MemoryConversation) -> None:
        """Deliver what is new to all who receive the conversation."""
        for session in list(self.sessions):
            session.follow_new(conversation)
            session.feed(conversation)

    def shut_out(self, robot: str, conversation: MemoryConversation) -> None:
        """Deliver a conversation to a robot no longer."""
        for session in self.sessions:
            if session.robot == robot:
                session.unfollow(conversation.name)

    def tell_signal(
        self, conversation: MemoryConversation, robot: str, key: str, body: Raw
    ) -> None:
        """Tell the other members who are online."""
        self._revision += 1
        frame = wire.SignalValue(conversation.name, robot, key, body, self._revision)
        for session in self.sessions:
            if session.robot in conversation.members and session.robot != robot:
                session.write(frame)

    def is_online(self, robot: str) -> bool:
        """Tell whether any device of a robot has a session."""
        return any(session.robot == robot for session in self.sessions)

    def _tell_presence(self, robot: str, *, online: bool) -> None:
        presence = wire.Presence(online=online, how="clean", since=int(wall_clock_ms()))
        body = Raw(msgspec.msgpack.encode(presence))
        for conversation in self.conversations.of(robot):
            if names.is_group(conversation.name):
                self.tell_signal(conversation, robot, wire.PRESENCE_KEY, body)
