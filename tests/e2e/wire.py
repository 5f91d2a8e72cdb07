"""The example's wire client, grown into a witness: it keeps what it gets and checks the order."""

import asyncio
import itertools
import secrets
import ssl
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.exceptions import ConnectionClosed

from examples.wire_client import JSON, MSGPACK, Codec, Frame, Refused, WireClient
from tests.e2e.server_process import ServerProcess
from tests.e2e.tcp_socket import TcpSocket
from tests.until import PATIENCE_S

__all__ = ["JSON", "MSGPACK", "Codec", "Fleet", "Frame", "Peer", "Refused", "together"]

T = TypeVar("T")


class Peer(WireClient):
    """A connected robot. ``logs`` holds the events it was given, contiguous, by conversation."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.robot = ""
        self.welcome: Frame = {}
        self.acking = True
        self.logs: dict[str, list[Frame]] = defaultdict(list)
        self.epochs: dict[str, str] = {}
        self._acked: dict[str, int] = defaultdict(int)
        self.signals: list[Frame] = []
        self.errors: list[Frame] = []
        self.notices: list[Frame] = []

    async def read(self) -> Frame:
        async with asyncio.timeout(PATIENCE_S):
            return await super().read()

    def sort(self, frame: Frame) -> None:
        match frame["t"]:
            case "deliver":
                self._keep(frame)
            case "signal":
                self.signals.append(frame)
            case "error" if "id" not in frame:
                self.errors.append(frame)
            case "bye" | "head" | "gap":
                self.notices.append(frame)
            case _:
                super().sort(frame)

    def _keep(self, frame: Frame) -> None:
        log = self.logs[frame["conv"]]
        self.epochs[frame["conv"]] = frame["epoch"]
        assert frame["events"], "a deliver frame without events"
        for event in frame["events"]:
            if log:
                assert event["seq"] == log[-1]["seq"] + 1, (
                    f"{self.robot} got {event['seq']} after {log[-1]['seq']} in {frame['conv']}"
                )
            log.append(event)

    async def until(self, condition: Callable[[], object]) -> None:
        """Take in frames until ``condition`` holds."""
        while not condition():
            self.sort(await self.read())

    async def until_seq(self, conv: str, seq: int) -> list[Frame]:
        """Take in frames until the log reaches ``seq``, acking unless told otherwise; return the log."""
        log = self.logs[conv]
        await self._ack_news(conv)
        while not log or log[-1]["seq"] < seq:
            self.sort(await self.read())
            await self._ack_news(conv)
        return log

    async def _ack_news(self, conv: str) -> None:
        log = self.logs[conv]
        if self.acking and log and log[-1]["seq"] > self._acked[conv]:
            self._acked[conv] = log[-1]["seq"]
            await self.ack(conv, self._acked[conv])

    def place(self, conv: str, seq: int) -> Frame:
        """Return ``seq`` as a position to resume from."""
        return {"epoch": self.epochs[conv], "seq": seq}

    async def until_closed(self) -> int:
        """Take in frames until the server closes; return the close code."""
        try:
            while True:
                self.sort(await self.read())
        except ConnectionClosed:
            return self.socket.close_code or 0

    async def settle(self) -> None:
        """Take in what the server had queued for this connection before now."""
        await self.request("ping")

    async def refusal(self, t: str, **fields: Any) -> Frame:
        """Send a request that must be refused, and return the error."""
        try:
            answer = await self.request(t, **fields)
        except Refused as refused:
            return refused.error
        raise AssertionError(f"{t} was accepted: {answer}")

    async def refused_with(self, t: str, **fields: Any) -> str:
        """Send a request that must be refused, and return the error's code."""
        code: str = (await self.refusal(t, **fields))["code"]
        return code

    async def pipeline(
        self, conv: str, bodies: Iterable[Any], *, in_flight: int = 200
    ) -> list[Frame]:
        """Send messages without waiting for each answer; return the answers in the order of sending."""
        waiting: deque[int] = deque()
        answers = []
        for body in bodies:
            cid = secrets.token_hex(8)
            waiting.append(await self.post("send", conv=conv, cid=cid, body=body))
            if len(waiting) == in_flight:
                answers.append(await self.answer(waiting.popleft()))
        answers += [await self.answer(request_id) for request_id in waiting]
        return answers

    async def vanish(self) -> None:
        """Lose the connection without a closing handshake."""
        self.socket.transport.abort()
        await self.socket.wait_closed()


class Way(NamedTuple):
    """How a robot comes in, where a test does not say: over which transport, in which codec."""

    transport: str
    codec: Codec


WEBSOCKET = (Way("websocket", MSGPACK),)
TCP = (Way("tcp", MSGPACK), Way("tcp", JSON))
ANY = (
    Way("websocket", MSGPACK),
    Way("tcp-deflate", JSON),
    Way("tcp-deflate", MSGPACK),
    Way("websocket", JSON),
)
"""All of these agree on compression; robots of the SDK do not unless they are told to."""


class Fleet:
    """Robots of one test: registered when first needed, all sent home at the end.

    They come in by the ``ways`` in turn.
    """

    _tags = itertools.count(1)

    def __init__(self, server: ServerProcess, ways: Sequence[Way] = WEBSOCKET) -> None:
        self.server = server
        self._ways = itertools.cycle(ways)
        self._tag = next(self._tags)
        self._keys: dict[str, Ed25519PrivateKey] = {}
        self._peers: list[Peer] = []

    def name(self, name: str) -> str:
        """Return ``name`` as this test alone uses it."""
        return f"{name}.{self._tag}"

    async def stranger(self, codec: Codec | None = None) -> Peer:
        """Return a connection on which nobody has said hello."""
        transport, default = next(self._ways)
        codec, tls = codec or default, self._tls()
        if transport in ("tcp", "tcp-deflate"):
            port, deflates = self.server.tcp_port, transport == "tcp-deflate"
            socket: Any = await TcpSocket.open(port, codec, deflates=deflates, tls=tls)
            peer = Peer(socket, codec)
        else:
            peer = await Peer.open(self.server.ws_url, codec, tls=tls)
        self._peers.append(peer)
        return peer

    def _tls(self) -> ssl.SSLContext | None:
        return self.server.tls.context() if self.server.tls is not None else None

    async def register(self, robot: str) -> Ed25519PrivateKey:
        """Register a robot, if this test has not, and return its key."""
        name = self.name(robot)
        if name not in self._keys:
            peer = await Peer.open(self.server.ws_url, tls=self._tls())
            key = Ed25519PrivateKey.generate()
            await peer.register(name, token=self.server.enroll(name), key=key)
            await peer.close()
            self._keys[name] = key
        return self._keys[name]

    async def online(self, robot: str, codec: Codec | None = None, **fields: Any) -> Peer:
        """Return a connection on which a robot, registered if need be, has said hello.

        Without a ``codec`` it speaks that of its way.
        """
        key = await self.register(robot)
        peer = await self.stranger(codec)
        peer.robot = self.name(robot)
        peer.welcome = await peer.hello(peer.robot, key=key, **fields)
        return peer

    async def group(self, owner: Peer, *members: Peer, name: str = "dock", **fields: Any) -> str:
        """Create a group of robots that are online, and return its conversation."""
        robots = [member.robot for member in members]
        frame = await owner.request("create_group", name=self.name(name), members=robots, **fields)
        conv: str = frame["result"]["conv"]
        return conv

    async def aclose(self) -> None:
        """Cut every connection: a goodbye would wait for what a test left unread."""
        for peer in self._peers:
            if not peer.socket.transport.is_closing():  # or Python 3.11.2 fails with TLS
                peer.socket.transport.abort()
        for peer in self._peers:
            await peer.socket.wait_closed()


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Do several things at once and return their results."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
    return [task.result() for task in tasks]
