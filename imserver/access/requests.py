"""From frame to use case: one small handler for each frame a client may send.

A handler either finishes at once and returns None, or returns a coroutine that the connection waits for
before its next frame. Handlers answer; they decide nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from imserver.access.admission import Admission
from imserver.access.connection import Connection
from imserver.access.greeting import Greeting, Work
from imserver.access.refusals import checked_body
from imserver.access.use_cases import UseCases
from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.logic.permissions import Operation, admit, require
from imserver.logic.room import for_follow
from imserver.logic.send import checked_name, role_of
from imserver.logic.session import Session
from imserver.protocol import client_frames as frames
from imserver.protocol.client_frames import ClientFrame
from imserver.protocol.codec import Codec
from imserver.protocol.errors import ErrorCode
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import HttpPass, Ok, Pong
from imserver.protocol.server_frames import Identity as IdentityRow


class Requests:
    """The table from frame to use case."""

    def __init__(
        self, cases: UseCases, *, admission: Admission, clock: Clock, limits: Limits, node: str
    ) -> None:
        self._identity = cases.identity
        self._sessions = cases.sessions
        self._conversations = cases.conversations
        self._sending = cases.sending
        self._groups = cases.groups
        self._history = cases.history
        self._listings = cases.listings
        self._signals = cases.signals
        self._tickets = cases.tickets
        self._clock = clock
        self._limits = limits
        self._node = node
        greeting = Greeting(cases, clock, admission=admission)
        self._handlers: dict[type[Struct], Callable[[Connection, Any, Codec], Work]] = {
            frames.Send: self._send,
            frames.Ack: self._ack,
            frames.Ping: self._ping,
            frames.Signal: self._signal,
            frames.Register: greeting.register,
            frames.Hello: greeting.hello,
            frames.Prove: greeting.prove,
            frames.Follow: self._follow,
            frames.Unfollow: self._unfollow,
            frames.WhoAmI: self._whoami,
            frames.RotateKey: self._rotate_key,
            frames.HttpToken: self._http_token,
            frames.Chunk: self._chunk,
            frames.Stop: self._stop,
        }

    def handle(self, connection: Connection, frame: ClientFrame, codec: Codec) -> Work:
        """Carry out a frame that is allowed in the connection's state.

        Raises:
            Refusal, InvalidBody: it is refused; so may the returned coroutine.
        """
        handler = self._handlers.get(type(frame))
        if handler is not None:
            return handler(connection, frame, codec)
        return self._ask(connection, frame)

    async def _ask(self, connection: Connection, frame: Any) -> None:
        session = _session(connection)
        if isinstance(frame, frames.History):
            events = await self._history.read(session, frame)
            connection.answer(Ok(frame.id, events=events))
        else:
            result = await self._result(session, frame)
            connection.answer(Ok(frame.id, result=result))

    async def _result(self, session: Session, frame: Any) -> Struct | Sequence[Struct]:
        groups, listings = self._groups, self._listings
        match frame:
            case frames.CreateGroup():
                return await groups.create(session, frame.name, frame.members, is_open=frame.open)
            case frames.DeleteGroup():
                return await groups.delete(session, frame.conv)
            case frames.Join():
                return await groups.join(session, frame.conv)
            case frames.Leave():
                return await groups.leave(session, frame.conv)
            case frames.AddMembers():
                return await groups.add(session, frame.conv, frame.robots, role=frame.role)
            case frames.RemoveMembers():
                return await groups.remove(session, frame.conv, frame.robots)
            case frames.SetRole():
                return await groups.set_role(session, frame.conv, frame.robot, role=frame.role)
            case frames.ListGroups():
                return await listings.groups(session, after=frame.after, limit=frame.limit)
            case frames.ListMembers():
                conv, after = frame.conv, frame.after
                return await listings.members(session, conv, after=after, limit=frame.limit)
            case frames.ListRobots():
                return await listings.robots(session, after=frame.after, limit=frame.limit)
        raise AssertionError(f"no handler for {type(frame).__name__}")

    def _send(self, connection: Connection, frame: frames.Send, codec: Codec) -> Work:
        body = checked_body(frame.body, codec, self._limits)
        return self._sending.send(_session(connection), frame, body)

    def _ack(self, connection: Connection, frame: frames.Ack, _codec: Codec) -> Work:
        self._sessions.ack(_session(connection), frame.conv, frame.seq)
        return None

    def _ping(self, connection: Connection, frame: frames.Ping, _codec: Codec) -> Work:
        connection.answer(Pong(frame.id, self._clock.now_ms()))
        return None

    def _signal(self, connection: Connection, frame: frames.Signal, codec: Codec) -> Work:
        body = checked_body(frame.body, codec, self._limits)
        session = _session(connection)
        return self._signals.signal(session, frame.conv, key=frame.key, body=body)

    async def _follow(self, connection: Connection, frame: frames.Follow, _codec: Codec) -> None:
        session = _session(connection)
        conv = checked_name(frame.conv)
        admit(session.scopes, Operation.READ, conv)
        conversation = await self._conversations.load(conv, asker=session.asker)
        role = None if conversation is None else role_of(conversation, session)
        require(role, Operation.READ, conv)
        assert conversation is not None, "who has a role has a conversation"
        for_follow(session.readers, conv, self._limits.follows_max)
        connection.answer(Ok(frame.id))
        after = conversation.head if frame.after == "latest" else frame.after
        if connection.session is session:
            self._sessions.follow(session, conversation, after)

    def _unfollow(self, connection: Connection, frame: frames.Unfollow, _codec: Codec) -> Work:
        self._sessions.unfollow(_session(connection), frame.conv)
        connection.answer(Ok(frame.id))
        return None

    def _whoami(self, connection: Connection, frame: frames.WhoAmI, _codec: Codec) -> Work:
        session = _session(connection)
        row = IdentityRow(session.robot, session.device, session.id, self._node)
        connection.answer(Ok(frame.id, result=row))
        return None

    async def _rotate_key(
        self, connection: Connection, frame: frames.RotateKey, _codec: Codec
    ) -> None:
        await self._identity.rotate(_session(connection), frame)
        connection.answer(Ok(frame.id))

    def _http_token(self, connection: Connection, frame: frames.HttpToken, _codec: Codec) -> Work:
        token, expires_ms = self._tickets.for_http(_session(connection))
        connection.answer(Ok(frame.id, result=HttpPass(token, expires_ms)))
        return None

    def _chunk(self, _connection: Connection, _frame: frames.Chunk, _codec: Codec) -> Work:
        raise Refusal(ErrorCode.UNSUPPORTED, "this server does not carry streams")

    def _stop(self, _connection: Connection, _frame: frames.Stop, _codec: Codec) -> Work:
        raise Refusal(ErrorCode.UNSUPPORTED, "this server does not carry streams")


def _session(connection: Connection) -> Session:
    session = connection.session
    if session is None:
        raise Refusal(ErrorCode.UNAVAILABLE, "the connection is closing")
    return session
