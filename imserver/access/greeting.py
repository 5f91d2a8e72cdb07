"""From `register`, `hello` and `prove` to an open session; each waits for its turn at the openings."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeAlias

from imserver.access.admission import Admission
from imserver.access.connection import Connection
from imserver.access.takeovers import WAIT_MAX_S, Takeovers
from imserver.access.use_cases import UseCases
from imserver.core.clock import Clock
from imserver.core.warrant import Warrant
from imserver.logic.clones import Holder
from imserver.logic.identity import claimed
from imserver.logic.session import Session
from imserver.protocol import client_frames as frames
from imserver.protocol.codec import Codec
from imserver.protocol.errors import CloseCode
from imserver.protocol.names import DeviceName, RobotName
from imserver.protocol.server_frames import Challenge, Ok
from imserver.protocol.session_states import SessionState

Work: TypeAlias = Coroutine[Any, Any, None] | None


class Greeting:
    """The handlers of what comes before the session is open."""

    def __init__(self, cases: UseCases, clock: Clock, *, admission: Admission) -> None:
        self._identity = cases.identity
        self._sessions = cases.sessions
        self._clones = cases.clones
        self._enquiries = cases.enquiries
        self._enquiries.sign_of_life = self._sign_of_life
        self._takeovers = Takeovers(clock)
        self._openings = admission.openings
        self._registrations = admission.registrations

    async def register(self, connection: Connection, frame: frames.Register, _codec: Codec) -> None:
        """Bind a robot's name to its key."""
        async with self._registrations:
            await self._identity.register(frame)
        connection.answer(Ok(frame.id))

    def hello(self, connection: Connection, frame: frames.Hello, _codec: Codec) -> Work:
        """Ask for a proof, unless there is a bearer token or a certificate that is one."""
        claimed(frame.robot, frame.device)
        connection.hello = frame
        if frame.token is not None:
            return self._open_by_token(connection, frame, frame.token)
        if frame.robot in connection.vouched:
            return self._open_by_certificate(connection, frame)
        connection.nonce = self._identity.new_nonce()
        connection.state = SessionState.CHALLENGED
        connection.send(Challenge(connection.nonce, self._identity.server_id))
        return None

    def prove(self, connection: Connection, frame: frames.Prove, _codec: Codec) -> Work:
        """Check the proof and open the session."""
        hello, nonce = connection.hello, connection.nonce
        assert hello is not None and nonce is not None, "a challenged connection has said hello"
        connection.nonce = None
        connection.state = SessionState.FRESH  # the challenge is spent, whatever comes of it
        return self._open_by_proof(connection, hello, nonce, frame.signature)

    async def _open_by_proof(
        self, connection: Connection, hello: frames.Hello, nonce: str, signature: bytes
    ) -> None:
        async with self._openings:
            warrant = await self._identity.prove(hello, nonce=nonce, signature=signature)
        await self._open(connection, hello, warrant)

    async def _open_by_token(self, connection: Connection, hello: frames.Hello, token: str) -> None:
        async with self._registrations:
            warrant = await self._identity.bear(hello, token)
        await self._open(connection, hello, warrant)

    async def _open_by_certificate(self, connection: Connection, hello: frames.Hello) -> None:
        async with self._registrations:
            warrant = await self._identity.vouch(hello)
        await self._open(connection, hello, warrant)

    async def _may_take(
        self, connection: Connection, hello: frames.Hello, warrant: Warrant, holder: Holder | None
    ) -> bool:
        """Tell whether a client may have the place of a device; who may not is told why.

        A token for a part of its robot's rights says nothing of the robot's starts: it must not make a clone
        of its robot, nor have it revoked for one.
        """
        if warrant.scopes.narrow is not None:
            return True
        _, device = claimed(hello.robot, hello.device)
        refused = await self._clones.judge(warrant.robot, device, hello, holder)
        if refused is not None:
            connection.close(refused.code, refused.reason, retry_after_ms=refused.retry_after_ms)
        return refused is None

    async def _holder(self, robot: RobotName, device: DeviceName) -> Holder | None:
        """Return who has the place of a device, here or on another node; what its robot has acked there is
        stored then."""
        elsewhere = await self._enquiries.held(robot, device)
        here = self._sessions.by_robot.get(robot, {}).get(device)
        if here is not None:
            return Holder(here.start.instance, partial(self._sign_of_life, here))
        if elsewhere is not None:
            return Holder(elsewhere.instance, lambda: elsewhere.is_alive)
        return None

    @staticmethod
    def _sign_of_life(held: Session) -> bool | None:
        return held.peer.sign_of_life() if isinstance(held.peer, Connection) else None

    async def _open(self, connection: Connection, hello: frames.Hello, warrant: Warrant) -> None:
        robot, device = claimed(hello.robot, hello.device)
        holder = await self._holder(robot, device)
        if not await self._may_take(connection, hello, warrant, holder):
            return
        if holder is not None:
            wait_s = self._takeovers.wait_s(robot, device)
            if wait_s > WAIT_MAX_S:
                reason = f"device {device} of {robot} changes hands too often: is it used twice?"
                retry_after_ms = int(wait_s * 1000)
                connection.close(CloseCode.OVERLOADED, reason, retry_after_ms=retry_after_ms)
            elif wait_s:
                connection.kept_waiting_s = wait_s
                await asyncio.sleep(wait_s)
        await self._sessions.settle(robot)  # while it keeps nobody from their turn
        if connection.is_closed:
            return
        async with self._openings:
            how = "clean" if holder is None else "replaced"
            session = await self._sessions.open(connection, warrant, device, hello=hello, how=how)
        if session is not None:
            connection.enter(session)
