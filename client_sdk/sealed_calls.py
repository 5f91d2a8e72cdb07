"""Sealed conversations as a robot's program sees them. Experimental; see docs/end-to-end.md."""

import asyncio
import secrets
from pathlib import Path
from typing import Literal

from msgspec import Struct

from client_sdk import tasks
from client_sdk.cids import Cids
from client_sdk.clock import wall_clock_ms
from client_sdk.errors import Refused
from client_sdk.file_calls import FileCalls
from client_sdk.introduction import Signer
from client_sdk.keys import RobotKey, load_key
from client_sdk.memory import Owner
from client_sdk.records import Event
from client_sdk.sealed.incoming import Incoming
from client_sdk.sealed.outgoing import Outgoing, Policy
from client_sdk.sealed.own_device import OwnDevice
from client_sdk.sealed.sealer import Sealer
from client_sdk.sealed.sealing import Sealing
from client_sdk.sealed.session import SealedSession
from client_sdk.sealed.trust import Trust
from imserver.protocol import names
from imserver.protocol.errors import ErrorCode
from imserver.protocol.server_frames import Changed


class Reader(Struct, frozen=True):
    """A member of a conversation, and which of its devices can read what this device seals there now.

    Attributes:
        identity: the identity key that is believed of it; None if it has shown none.
        devices: none if it has announced none, or shown another identity key.
    """

    robot: str
    identity: bytes | None
    devices: list[str]


class SealedCalls(FileCalls):
    """What a robot that seals can do besides. All of it in `Robot`."""

    _sealer: Sealer | None = None
    _sealer_task: asyncio.Task[None] | None = None

    async def seal(self, conv: str) -> None:
        """Seal everything in a conversation from now on; return when its log has this device's key.

        It is remembered, and there is no way back. From its return on nothing of this device goes to the
        conversation in plain, and what comes in plain from others is not shown. The other members' robots
        that seal follow by themselves.

        Raises:
            ValueError: the robot was made without ``sealed=Sealing(…)``.
            RobotError: the log could not be read, or this device's key not be stored there.
        """
        await self._sealing().seal(names.conversation(conv))

    async def withdraw(self, conv: str, device: str) -> None:
        """Have nothing sealed any more for another device of this robot, which is lost or given up."""
        await self._sealing().withdraw(names.conversation(conv), names.device_name(device))

    def trust(self, robot: str, identity: bytes) -> None:
        """Believe this identity key of a robot from now on, and no other: its key was changed, say.

        Be sure of it from a source that is not the server.
        """
        self._sealing().session.believe(names.robot_name(robot), identity)
        self._link.perform_soon()

    async def readers(self, conv: str) -> list[Reader]:
        """Return who can read what this device seals in a conversation now, by name.

        To be sure that there is no stranger, compare the identity keys with the robots' own.
        """
        sealer = self._sealing()
        await sealer.prepare(names.conversation(conv))
        session = sealer.session
        return [
            Reader(robot, session.trust.identity(robot), sorted(devices))
            for robot, devices in session.roster(conv).members().items()
        ]

    async def history(
        self,
        conv: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = 100,
        view: Literal["events", "messages"] = "events",
    ) -> list[Event]:
        """Return a page of the log; see `Calls.history`.

        Of a sealed conversation there is the view ``events`` alone, and an event is opened if its key was
        kept (`Sealing.keep_history`), or has not been used yet; else it comes with an `Unopened`.
        """
        page = await super().history(conv, after=after, before=before, limit=limit, view=view)
        if self._sealer is None:
            return page
        session = self._sealer.session
        if view == "messages" and session.is_sealed(conv):
            raise Refused(
                ErrorCode.UNSUPPORTED,
                f"{conv} is sealed: a server cannot fold its edits in; read view='events'",
            )
        return [session.open(event, keep=False) for event in page]

    async def _change(self, frame: Struct) -> Changed:
        """Make a change of a group; what is sealed after it goes to who belongs to it then."""
        changed = await super()._change(frame)
        conv = changed.conv or getattr(frame, "conv", None)
        if self._sealer is not None and conv is not None:
            roster = self._sealer.session.roster(conv)
            roster.progress.hear(changed.seq, wall_clock_ms(), urgent=True)
        return changed

    def _check_plain(self, conv: str) -> None:
        if self._sealer is not None:
            self._sealer.check_plain(conv)

    def _sealing(self) -> Sealer:
        if self._sealer is None:
            raise ValueError("make the robot with sealed=Sealing(…) to seal conversations")
        return self._sealer

    def _use_sealing(
        self, sealing: Sealing, owner: Owner, signer: Signer | None, cids: Cids
    ) -> None:
        """Seal from now on.

        Raises:
            ValueError: the robot has no memory, or no key to sign with.
        """
        if self._link.keeper is None:
            raise ValueError(
                'give the robot a memory to seal (memory="r1.memory"): keys are kept there'
            )
        signer = _signer(sealing.identity) or signer
        if signer is None:
            raise ValueError("give the robot a key to seal, or an identity in Sealing(identity=…)")
        own = OwnDevice(owner.robot, owner.device, signer, secrets.token_bytes)
        policy = Policy(
            sealing.messages_max, int(sealing.age_s * 1000), int(sealing.device_age_s * 1000)
        )
        session = SealedSession(
            own,
            trusted=Trust(sealing.known, first_use=sealing.first_use),
            outgoing=Outgoing(own, secrets.token_bytes, policy),
            incoming=Incoming(keeps_used=sealing.keep_history),
            decode=self._codec.decode_body,
            clock_ms=wall_clock_ms,
            everything=sealing.everything,
        )
        self._link.machine.inbox.opener = session
        self._sealer = Sealer(self._link, session, self._codec, cids=cids, policy=policy)

    def _start_sealing(self) -> None:
        if self._sealer is not None:
            work = self._sealer.run()
            self._sealer_task = tasks.start(work, name="client_sdk.sealer", on_failure=self._broke)

    async def _stop_sealing(self) -> None:
        task, self._sealer_task = self._sealer_task, None
        if task is not None:
            await tasks.end(task)

    def _broke(self, error: Exception) -> None:
        self._link.broke(error)


def _signer(identity: RobotKey | str | Path | None) -> Signer | None:
    if identity is None or isinstance(identity, RobotKey):
        return identity
    return load_key(Path(identity))
