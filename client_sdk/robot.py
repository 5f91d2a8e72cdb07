"""The robot: what an application holds.

    async with Robot("ws://127.0.0.1:7400", name="r1", key="r1.key") as robot:
        await robot.send("g/dock", {"task": "pick", "shelf": 7})
        async for event in robot.events():
            print(event.conv, event.seq, event.sender, event.body)

It puts the parts together and translates; what happens when is decided in `machine`.
"""

import asyncio
import random
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

from client_sdk.address import connector_to
from client_sdk.cids import Cids
from client_sdk.clock import wall_clock_ms
from client_sdk.errors import KeyFileError
from client_sdk.introduction import Credentials, Introduction
from client_sdk.keeper import Keeper
from client_sdk.keys import RobotKey, create_key, load_key
from client_sdk.link import Link
from client_sdk.machine import Machine
from client_sdk.memory import Memory, Owner
from client_sdk.options import Options
from client_sdk.outbox import Repeat
from client_sdk.payload import encode
from client_sdk.records import Event, Gap, Sent, Statistics
from client_sdk.sealed.sealing import Sealing
from client_sdk.sealed_calls import SealedCalls
from client_sdk.sqlite_memory import SqliteMemory
from client_sdk.states import State
from client_sdk.streams import EventStream, SignalStream
from client_sdk.transport import Connector
from imserver.protocol import client_frames as wire
from imserver.protocol import names
from imserver.protocol.codec import JSON, MSGPACK
from imserver.protocol.events import EDIT, MESSAGE, REDACT, SEQ_MAX, SERVER_CID_PREFIX
from imserver.protocol.limits import CID_CHARS_MAX, KIND_CHARS_MAX, SIGNAL_KEY_CHARS_MAX


class Robot(SealedCalls):
    """A robot that is online while its context is entered, and comes back by itself when cut off.

    Its methods may be called by any number of tasks of one event loop at a time; `events` is for one.

    Args:
        url: address of the server, ``ws://host:port`` (or wss, http, https), or ``tcp://host:port`` of its
            port for raw TCP (``tcps`` over TLS).
        name: the robot's name.
        key: file of its private key, or the key itself. With ``token``, a missing file is created.
        token: for the first time: enrolment token that registers the key. Harmless afterwards.
        bearer: instead of a key, a bearer token, as people and dashboards have. With neither, the
            certificate in the options says who it is.
        device: which of the robot's devices this is; each has its own cursors.
        memory: file in which sends that wait and what is processed outlive the process (see `SqliteMemory`);
            made if it is missing. One for each device, and for each server.
        sealed: seal conversations end to end; see `seal`. Needs a memory. Experimental.
        options: see `Options`.
        connector: another way to the server than the network; the tests' memory, for example.

    Raises:
        ValueError: an argument is not what it should be; the text says what would be right.
        KeyFileError: there is no key file, and no token to register a new one, or it is not a key.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        key: str | Path | RobotKey | None = None,
        token: str | None = None,
        bearer: str | None = None,
        device: str = "main",
        memory: str | Path | Memory | None = None,
        sealed: Sealing | None = None,
        options: Options | None = None,
        connector: Connector | None = None,
    ) -> None:
        options = options or Options()
        codec = MSGPACK if options.codec == "msgpack" else JSON
        instance = secrets.token_hex(8)
        signer = _key(key, name, may_create=token is not None) if key is not None else None
        introduction = Introduction(
            Credentials(
                key=signer,
                token=token,
                bearer=bearer,
                certified=options.client_cert is not None,
            ),
            robot=name,
            device=device,
            instance=instance,
            window=options.window,
            auto=options.auto,
            server=options.server,
        )
        machine = Machine(introduction, options, codec=codec, dice=random.Random())
        link = Link(
            machine,
            connector or connector_to(url, codec, options),
            codec,
            frame_bytes_max=options.frame_bytes_max,
            keeper=_keeper(memory, Owner(name, device), machine),
        )
        super().__init__(link, codec, request_timeout_s=options.request_timeout_s)
        self.name = name
        self._options = options
        self._closing = asyncio.Lock()
        self._cids = Cids(wall_clock_ms, instance)
        if isinstance(key, str | Path):
            self._use_key_file(Path(key), may_rotate=sealed is None, counts=memory is None)
        self._use_files(url, options, bearer)
        if sealed is not None:
            self._use_sealing(sealed, Owner(name, device), signer, self._cids)

    async def __aenter__(self) -> Self:
        """Connect and return when online.

        Raises:
            ConnectionLost: not within the options' ``connect_timeout_s``.
            Refused, StayAway, WrongServer: the server does not want this robot.
            MemoryFileError: the memory cannot be used, and why.
        """
        try:
            await self._link.open(self._options.connect_timeout_s)
        except BaseException:
            await self._link.aclose()
            raise
        self._start_sealing()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Write the acks, close the connection in good order, and end. Idempotent."""
        async with self._closing:
            try:
                await self._stop_sealing()
            finally:
                await self._link.aclose()

    @property
    def state(self) -> State:
        """Where the connection is."""
        return self._link.machine.state

    async def wait_online(self) -> None:
        """Return when the robot is online.

        Raises:
            RobotError: it will not be any more, and why.
        """
        await self._link.wait_online()

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
        """Append an event to a conversation; return where, once it is durable.

        Ends in one of three ways within ``timeout_s``, whatever happens to the connection meanwhile: stored,
        refused, or unknown. Any number may be under way at a time; what one task sends one after the other
        is stored in that order. With a memory it is kept before it is written, and goes on being sent until
        it is stored or refused, whatever becomes of this call and of the process; the same cid with the same
        content then waits for the same send.

        Args:
            conv: ``g/<group>`` or ``d/<robot>/<robot>`` (see `direct`).
            body: any value that JSON or MessagePack can hold.
            kind: what it is, ``message`` or any name.
            ref: seq of the event that it answers.
            cid: name of this send; the same again is stored once. Made here if None.
            timeout_s: after that its outcome counts as unknown.

        Raises:
            Refused: it is not stored, and why.
            OutcomeUnknown: it may be stored; send again with its ``cid`` to know.
            ValueError, TypeError: nothing was sent: a name, the cid or the body is not allowed.
        """
        machine = self._link.machine
        frame = wire.Send(
            next(machine.ids),
            names.conversation(conv),
            _cid(cid) if cid is not None else self._cids.next(),
            encode(self._codec, body, machine.limits.body_bytes_max),
            kind=_short("kind", kind, KIND_CHARS_MAX),
            ref=_ref(ref),
        )
        if self._sealer is not None:
            return await self._sealer.send(
                frame, body, is_named=cid is not None, timeout_s=timeout_s
            )
        return await self._link.ask(frame, Sent, repeat=Repeat.SAFE, timeout_s=timeout_s)

    async def edit(self, conv: str, seq: int, body: object) -> Sent:
        """Change how one's own message at ``seq`` is shown; ends as `send` does."""
        return await self.send(conv, body, kind=EDIT, ref=seq)

    async def redact(self, conv: str, seq: int) -> Sent:
        """Take a message at ``seq`` out of sight; ends as `send` does."""
        return await self.send(conv, None, kind=REDACT, ref=seq)

    def signal(self, conv: str, key: str, body: object) -> None:
        """Tell the members who are online a value of which only the latest counts.

        Not stored and not answered: while this robot is offline it is dropped.

        Raises:
            Refused: ``unsupported``, in a sealed conversation: signals are not sealed.
        """
        self._check_plain(conv)
        machine = self._link.machine
        self._link.check_not_over()
        raw = encode(self._codec, body, machine.limits.body_bytes_max)
        key = _short("signal key", key, SIGNAL_KEY_CHARS_MAX)
        machine.post(wire.Signal(names.conversation(conv), key, raw))
        self._link.perform_soon()

    @overload
    def events(self, *, gaps: Literal[False] = False) -> EventStream[Event]: ...

    @overload
    def events(self, *, gaps: Literal[True]) -> EventStream[Event | Gap]: ...

    def events(self, *, gaps: bool = False) -> EventStream[Any]:
        """Return the events of this robot's conversations as an endless iterator; see `EventStream`.

        Args:
            gaps: give a part of a log that is lost for good as a `Gap` in its place, instead of raising
                `MissedEvents`.
        """
        return EventStream(self._link, with_gaps=gaps)

    def done(self, event: Event) -> None:
        """Say that everything up to ``event`` is processed; needed only after a ``break``."""
        self._link.machine.inbox.processed(event, self._link.now_s())
        self._link.perform_soon()

    def signals(self) -> SignalStream:
        """Return the signals of others as an endless iterator; see `SignalStream`."""
        return SignalStream(self._link)

    def direct(self, other: str) -> str:
        """Return the conversation between this robot and another."""
        return names.direct(self.name, other)

    def statistics(self) -> Statistics:
        """Return a snapshot of the counters."""
        machine = self._link.machine
        inbox, requests = machine.inbox, machine.requests
        return Statistics(
            state=machine.state,
            connections=machine.connections,
            sent=requests.sent,
            resent=requests.outbox.resent,
            received=inbox.received,
            repeated=inbox.repeated,
            repairs=inbox.repairs.asked,
            gaps=inbox.gaps,
            queued=len(inbox),
            pending=len(requests.outbox),
            signals_dropped=machine.signals.dropped,
            frames_ignored=self._link.frames_ignored,
        )


def _keeper(memory: str | Path | Memory | None, owner: Owner, machine: Machine) -> Keeper | None:
    if memory is None:
        return None
    if isinstance(memory, str | Path):
        memory = SqliteMemory(Path(memory))
    return Keeper(memory, owner, notes=machine.notes)


def _key(key: str | Path | RobotKey, name: str, *, may_create: bool) -> RobotKey:
    if isinstance(key, RobotKey):
        return key
    path = Path(key)
    if path.exists():
        return load_key(path)
    if not may_create:
        raise KeyFileError(
            f"there is no key file {path}; to make and register a new key, pass the token that "
            f"`imserver enroll --robot {names.clip(name)}` prints as token=…"
        )
    return create_key(path)


def _cid(cid: str) -> str:
    _short("cid", cid, CID_CHARS_MAX)
    if cid.startswith(SERVER_CID_PREFIX):
        raise ValueError(f"a cid must not begin with {SERVER_CID_PREFIX!r}: those are the server's")
    return cid


def _short(what: str, text: object, chars_max: int) -> str:
    if not isinstance(text, str) or not 1 <= len(text) <= chars_max:
        raise ValueError(f"a {what} must be text of 1 to {chars_max} characters")
    return text


def _ref(ref: object) -> int | None:
    if ref is None or (isinstance(ref, int) and 1 <= ref <= SEQ_MAX):
        return ref
    raise ValueError(f"ref must be the seq of an event, a number from 1 on, not {ref!r}")
