"""A client that knows nothing but the wire: read it first to write one in another language.

    python examples/wire_client.py ws://127.0.0.1:7400 r1=TOKEN r2=TOKEN [--json]

Each TOKEN comes from `imserver enroll --robot r1` and works once. Needs the packages `websockets`, `msgpack`
and `cryptography`, and nothing of imserver. It leaves out what a robot needs in the field (reconnecting, an
outbox that survives a restart): for that there is `client_sdk`.
"""

import argparse
import asyncio
import base64
import json
import secrets
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, NamedTuple, Self, TypeAlias

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection, connect

Frame: TypeAlias = dict[str, Any]


class Refused(Exception):
    """The server answered with an `error` frame; ``code`` is the part for programs."""

    def __init__(self, error: Frame) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.error = error
        self.code: str = error["code"]


class Codec(NamedTuple):
    """A frame is a map; a codec writes it as one WebSocket message, binary or text."""

    subprotocol: str
    dumps: Callable[[Frame], bytes | str]
    loads: Callable[[Any], Frame]


def _base64(raw: bytes) -> str:
    """In JSON, bytes (keys, signatures, bytes within bodies) are base64."""
    return base64.b64encode(raw).decode()


MSGPACK = Codec(
    "imserver.v1.msgpack", msgpack.packb, partial(msgpack.unpackb, strict_map_key=False)
)
JSON = Codec("imserver.v1.json", partial(json.dumps, default=_base64), json.loads)


class WireClient:
    """One connection. Frames that nobody asked for wait in ``inbox`` until someone looks."""

    def __init__(self, socket: ClientConnection, codec: Codec) -> None:
        self.socket = socket
        self.codec = codec
        self.inbox: deque[Frame] = deque()
        self.answers: dict[int, Frame] = {}
        self._last_id = 0

    @classmethod
    async def open(
        cls, url: str, codec: Codec = MSGPACK, *, tls: ssl.SSLContext | None = None
    ) -> Self:
        """Connect to ``ws://host:port`` (``wss`` with ``tls``); nobody is known yet on this connection."""
        subprotocol: Any = codec.subprotocol
        socket = await connect(
            f"{url}/v1/connect",
            subprotocols=[subprotocol],
            max_size=None,
            ping_interval=None,  # the server pings
            ssl=tls,
        )
        return cls(socket, codec)

    async def write(self, frame: Frame) -> None:
        """Send one frame as it is."""
        await self.socket.send(self.codec.dumps(frame))

    async def read(self) -> Frame:
        """Return the next frame from the server, whatever it is."""
        return self.codec.loads(await self.socket.recv())

    async def post(self, t: str, **fields: Any) -> int:
        """Send a request and return its id without waiting for the answer."""
        self._last_id += 1
        await self.write({"t": t, "id": self._last_id, **fields})
        return self._last_id

    async def answer(self, request_id: int) -> Frame:
        """Return the answer to the request ``request_id``; raise `Refused` if it is an error."""
        while request_id not in self.answers:
            self.sort(await self.read())
        return _accepted(self.answers.pop(request_id))

    async def request(self, t: str, **fields: Any) -> Frame:
        """Send a request and return its answer."""
        return await self.answer(await self.post(t, **fields))

    def sort(self, frame: Frame) -> None:
        """Put a frame where its reader will look for it: only answers carry an ``id``."""
        if "id" in frame:
            self.answers[frame["id"]] = frame
        else:
            self.inbox.append(frame)

    async def register(self, robot: str, *, token: str, key: Ed25519PrivateKey) -> Frame:
        """Bind the robot's name to its public key, once in its life and before `hello`."""
        public_key = key.public_key().public_bytes_raw()
        return await self.request("register", robot=robot, token=token, public_key=public_key)

    async def hello(self, robot: str, *, key: Ed25519PrivateKey | None, **fields: Any) -> Frame:
        """Open the session and return `welcome`; with ``token=`` among the fields no key is needed."""
        await self.write({"t": "hello", "robot": robot, **fields})
        opening = _accepted(await self.read())
        if opening["t"] == "challenge" and key is not None:
            device = fields.get("device", "main")
            text = f"imserver.v1 {opening['server']} {opening['nonce']} {robot} {device}"
            await self.write({"t": "prove", "signature": key.sign(text.encode())})
            opening = _accepted(await self.read())
        return opening

    async def create_group(self, name: str, members: list[str]) -> str:
        """Create a group and return its conversation, ``g/<name>``."""
        created = await self.request("create_group", name=name, members=members)
        conv: str = created["result"]["conv"]
        return conv

    async def send(self, conv: str, body: Any, **fields: Any) -> Frame:
        """Append a message, durable when this returns. If no answer comes, send the same ``cid`` again."""
        cid = fields.pop("cid", None) or secrets.token_hex(8)
        return await self.request("send", conv=conv, cid=cid, body=body, **fields)

    async def ack(self, conv: str, seq: int) -> None:
        """Tell the server that everything up to ``seq`` is processed; it resumes after it next time."""
        await self.write({"t": "ack", "conv": conv, "seq": seq})

    async def events(self, conv: str) -> AsyncIterator[Frame]:
        """Yield the conversation's events in order, and ack each when the loop comes round."""
        while True:
            frame = self.inbox.popleft() if self.inbox else await self.read()
            if frame["t"] != "deliver" or frame["conv"] != conv:
                continue
            for event in frame["events"]:
                yield event
                await self.ack(conv, event["seq"])

    async def close(self) -> None:
        """Go offline cleanly."""
        await self.socket.close()


def _accepted(frame: Frame) -> Frame:
    if frame["t"] == "error":
        raise Refused(frame)
    return frame


async def _enter(url: str, codec: Codec, *, robot: str, token: str) -> WireClient:
    key = Ed25519PrivateKey.generate()  # a real robot keeps it in a file
    client = await WireClient.open(url, codec)
    await client.register(robot, token=token, key=key)
    welcome = await client.hello(robot, key=key)
    print(f"{robot} is online, session {welcome['session']}")
    return client


async def run(url: str, tokens: dict[str, str], codec: Codec = MSGPACK) -> None:
    """Register two robots, let each say three things in a group, and show that both read the same log."""
    one, other = [
        await _enter(url, codec, robot=robot, token=token) for robot, token in tokens.items()
    ]
    conv = await one.create_group(f"example-{secrets.token_hex(4)}", [*tokens][1:])
    for count in range(3):
        await one.send(conv, {"count": count})
        await other.send(conv, {"count": count})
    logs = []
    for client in (one, other):
        log = []
        async for event in client.events(conv):
            log.append((event["seq"], event["sender"], event["kind"], event["body"]))
            if event["seq"] == 7:  # the group's creation and six messages
                break
        logs.append(log)
        await client.close()
    for seq, sender, kind, body in logs[0]:
        print(f"{conv} {seq} {sender} {kind} {body}")
    print("both robots read the same log" if logs[0] == logs[1] else "the logs differ")


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description="Two robots talk, with nothing but the wire.")
    parser.add_argument("url", help="ws://host:port")
    parser.add_argument("tokens", nargs=2, metavar="ROBOT=TOKEN")
    parser.add_argument("--json", action="store_true", help="speak JSON instead of MessagePack")
    options = parser.parse_args()
    tokens = dict(pair.split("=", 1) for pair in options.tokens)
    asyncio.run(run(options.url, tokens, JSON if options.json else MSGPACK))


if __name__ == "__main__":
    main()
