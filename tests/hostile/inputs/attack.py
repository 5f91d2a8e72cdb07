"""An entry of the table: what is sent, in a sentence, and an attack that sends it and judges the answer."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol

import msgpack

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import JSON, MSGPACK, Fleet, Peer
from tests.hostile.raw_socket import RawSocket, upgrade
from tests.hostile.refusals import assert_refused, assert_still_open, error_to

FRAME_MAX: Final = 320 * 1024
BODY_MAX: Final = 256 * 1024
PATIENCE_S: Final = 20
_INSIDE: Final = ("Traceback", 'File "', ".py", "site-packages", "SQL")


class Stage(NamedTuple):
    """The server under attack, and the attacker's robots."""

    server: ServerProcess
    gang: Fleet

    async def robot(self, name: str = "mallory", codec: Any = MSGPACK) -> Peer:
        """Return a robot of the attacker's that is online."""
        peer = await self.gang.stranger(codec)
        peer.robot = self.gang.name(name)
        token = self.server.token(peer.robot)
        peer.welcome = await peer.hello(peer.robot, key=None, token=token)
        return peer


class Attack(Protocol):
    """Sends something hostile and judges what comes of it."""

    @property
    def does(self) -> str:
        """A sentence on what the server does."""

    async def on(self, stage: Stage) -> None:
        """Carry it out."""


Said = bytes | Callable[[Stage], bytes]


class Http(NamedTuple):
    """Bytes on the port for HTTP and WebSockets, and the status of the answer.

    Attributes:
        ends: whether the server closes the connection then.
        hint: what the answer says.
    """

    said: Said
    status: int
    ends: bool = True
    hint: str = ""

    @property
    def does(self) -> str:
        closes = ", closes" if self.ends else ""
        if self.status == 101:
            return "101, like any other"
        return f"{self.status} {HTTPStatus(self.status).phrase}{closes}"

    async def on(self, stage: Stage) -> None:
        raw = await RawSocket.connect(stage.server)
        raw.write(self.said(stage) if callable(self.said) else self.said)
        status, text = await raw.response()
        assert status == self.status, text
        assert self.hint in text, text
        assert not [word for word in _INSIDE if word in text], text
        assert not self.ends or await raw.wait_end(PATIENCE_S)


class Upgrade(NamedTuple):
    """A request to open a WebSocket, with headers changed."""

    headers: dict[str, str | None]
    status: int
    hint: str = ""
    path: str = "/v1/connect"

    @property
    def does(self) -> str:
        return Http(b"", self.status, ends=False).does

    async def on(self, stage: Stage) -> None:
        said = upgrade(self.path, **self.headers)
        await Http(said, self.status, ends=self.status != 101, hint=self.hint).on(stage)


class Frames(NamedTuple):
    """Bytes in the WebSocket of an open session in JSON, and the codes one of which it is closed with."""

    said: bytes
    codes: Sequence[int]

    @property
    def does(self) -> str:
        return "closes with " + " or ".join(str(code) for code in self.codes)

    async def on(self, stage: Stage) -> None:
        raw = await RawSocket.in_session(stage.server, stage.gang.name("mallory"))
        raw.write(self.said)
        assert await raw.close_code() in self.codes


class Refused(NamedTuple):
    """A message of an open session, and the error that it gets; the session goes on.

    A text is sent on a session in JSON, bytes on one in MessagePack, fields as a frame of that. ``{own}`` in
    a text, and ``"own"`` as ``conv`` among fields, stand for a group of the attacker's.
    """

    message: str | bytes | dict[str, Any]
    code: str
    hint: str = ""

    @property
    def does(self) -> str:
        return f"`{self.code}`"

    async def on(self, stage: Stage) -> None:
        peer = await stage.robot("mallory", JSON if isinstance(self.message, str) else MSGPACK)
        said, conv = self.message, ""
        if isinstance(said, str) and "{own}" in said:
            conv = await own_group(peer)
            said = said.replace("{own}", conv)
        if isinstance(said, dict):
            if said.get("conv") == "own":
                conv = await own_group(peer)
                said = said | {"conv": conv}
            said = msgpack.packb({"id": 7} | said)
        assert_refused(await error_to(peer, said), self.code, self.hint)
        await assert_still_open(peer)
        if conv:
            events = (await peer.request("history", conv=conv, after=0))["events"]
            assert [event["kind"] for event in events] == ["group_created"]


class Story(NamedTuple):
    """An attack with a story of its own."""

    does: str
    play: Callable[[Stage], Awaitable[None]]

    async def on(self, stage: Stage) -> None:
        await self.play(stage)


class Input(NamedTuple):
    """An entry of the table.

    Attributes:
        says: what is sent; unique.
    """

    says: str
    attack: Attack


class Absent(NamedTuple):
    """What is no entry, and why."""

    says: str
    why: str


async def own_group(peer: Peer) -> str:
    """Create a group of the attacker's and return it."""
    name = f"own-{peer.robot}-{len(peer.logs)}-{id(peer)}"
    conv: str = (await peer.request("create_group", name=name))["result"]["conv"]
    return conv
