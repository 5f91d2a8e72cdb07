"""The doors that speak frames: WebSocket and raw TCP, in both codecs."""

from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from examples.wire_client import JSON, MSGPACK, Codec, Refused
from tests.e2e.every_door.member import Member
from tests.e2e.tcp_socket import TcpSocket
from tests.e2e.wire import Peer


class FramedMember(Member):
    """A robot with a session."""

    codec: ClassVar[Codec]
    _peer: Peer

    async def register(self) -> None:
        peer, key = await self._open(), Ed25519PrivateKey.generate()
        await peer.register(self.name, token=self.site.enroll(self.name), key=key)
        welcome = await peer.hello(self.name, key=key)
        assert welcome["robot"] == self.name
        await peer.close()

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._epochs: dict[str, str] = {}

    async def enter(self) -> None:
        places = {
            conv: {"epoch": self._epochs[conv], "seq": log[-1]["seq"]}
            for conv, log in self.logs.items()
            if log
        }
        self._peer = await self._open()
        token = self.site.bearer(self.name)
        self._peer.welcome = await self._peer.hello(self.name, key=None, token=token, resume=places)

    async def lose(self) -> None:
        await self._peer.vanish()

    async def ask(self, t: str, **fields: Any) -> Any:
        if t in ("ack", "signal"):  # which have no answer, unless they are refused
            await (self.ack if t == "ack" else self.signal)(**fields)
            return None
        frame = await self._peer.request(t, **fields)
        self._take()
        if t in ("send", "ping"):
            return frame
        return frame.get("result", frame.get("events"))

    async def send_all(self, conv: str, bodies: Iterable[Any]) -> None:
        await self._peer.pipeline(conv, bodies)
        self._take()

    async def ack(self, conv: str, seq: int) -> None:
        await self._peer.ack(conv, seq)
        await self._peer.settle()
        self._raise_errors()
        self._take()

    async def signal(self, conv: str, key: str, body: Any) -> None:
        await self._peer.write({"t": "signal", "conv": conv, "key": key, "body": body})
        await self._peer.settle()
        self._raise_errors()
        self._take()

    async def acked(self, conv: str) -> int:
        peer = await self._open()
        token = self.site.bearer(self.name)
        welcome = await peer.hello(self.name, key=None, token=token, device="looks", auto=False)
        await peer.close()
        (state,) = [state for state in welcome["conversations"] if state["conv"] == conv]
        return int(state["acked"])

    async def read(self, conv: str) -> None:
        self._peer.sort(await self._peer.read())
        self._take()

    def _take(self) -> None:
        for conv, events in self._peer.logs.items():
            self.keep(conv, events)
            events.clear()
        self._epochs |= self._peer.epochs
        self.signals += self._peer.signals
        self._peer.signals.clear()

    def _raise_errors(self) -> None:
        if self._peer.errors:
            raise Refused(self._peer.errors.pop())

    async def _open(self) -> Peer:
        raise NotImplementedError


class WebSocketMember(FramedMember):
    """A robot on a WebSocket."""

    async def _open(self) -> Peer:
        return await Peer.open(self.address, self.codec, tls=self.site.tls)


class TcpMember(FramedMember):
    """A robot on raw TCP."""

    async def _open(self) -> Peer:
        port = urlsplit(self.address).port
        assert port is not None
        socket: Any = await TcpSocket.open(port, self.codec, tls=self.site.tls)
        return Peer(socket, self.codec)


class WebSocketMsgpack(WebSocketMember):
    codec = MSGPACK
    has_bytes = True


class WebSocketJson(WebSocketMember):
    codec = JSON


class TcpMsgpack(TcpMember):
    codec = MSGPACK
    has_bytes = True


class TcpJson(TcpMember):
    codec = JSON
