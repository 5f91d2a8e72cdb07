"""Has a case out with a real server, over a real socket."""

import asyncio
import json
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from tests.e2e.server_process import ServerProcess
from tests.hostile.raw_socket import CLOSE, PING, PONG, RawSocket, frame
from tests.hostile.websocket_cases.case import (
    BY_FRAME,
    NO_CODE,
    NORMAL,
    Answer,
    Case,
    Echo,
    Event,
    Pong,
    Refusal,
    Talk,
)
from tests.hostile.websocket_cases.speech import JSON, Speech

_ASIDE: Final = frozenset({"signal", "sent", "welcome", "ok", "bye"})
"""Frames of ours that come beside what a case asks for."""


class Endpoint:
    """A session with a server, whose client has a group of its own to talk to."""

    def __init__(self, raw: RawSocket, codec: str, group: str) -> None:
        self._raw = raw
        self._codec = codec
        self._conv = f"g/{group}"
        self._events: list[Event] = []
        self._is_over = False
        self._code: int | None = None
        self._speech = Speech(codec, self._conv)

    @classmethod
    async def open(cls, server: ServerProcess, codec: str, robot: str, *, group: str) -> "Endpoint":
        """Connect, say hello with a bearer token, and make the group."""
        raw = await RawSocket.upgraded(server, Sec_WebSocket_Protocol=f"imserver.v1.{codec}")
        endpoint = cls(raw, codec, group)
        endpoint._say({"t": "hello", "robot": robot, "token": server.token(robot)})
        endpoint._say({"t": "create_group", "id": 0, "name": group})
        answer: dict[str, Any] = {}
        while answer.get("t") != "ok":
            received = await raw.read_frame()
            assert received is not None, "closed before it began"
            answer = endpoint._unpacked(received.payload)
            assert answer["t"] != "error", answer
        return endpoint

    async def perform(self, case: Case) -> None:
        """Say what a case says, and assert that what it expects comes of it, in order, and nothing else."""
        talk = case.talk(self._speech)
        await self._say_all(talk)
        if not talk.ends_with:
            await self._wait_for(len(talk.expects))
            # What the endpoint should not have said would come before the answer to this.
            self._raw.write(frame(PING, b"the last"))
            await self._wait_until(Pong(b"the last"))
            self._raw.write(frame(CLOSE, struct.pack("!H", NORMAL)))
        while not self._is_over:
            await self._read()
        assert self._events == list(talk.expects)
        assert self._code in (talk.ends_with or {NORMAL})

    async def _say_all(self, talk: Talk) -> None:
        together: list[bytes] = []
        for said in talk.says:
            if isinstance(said, bytes):
                together.append(said)
                continue
            await self._write(together, talk.chop)
            together.clear()
            await self._wait_until(said)
        await self._write(together, talk.chop)

    async def _write(self, frames: Sequence[bytes], chop: int) -> None:
        if chop == BY_FRAME:
            pieces = list(frames)
        else:
            data = b"".join(frames)
            step = chop or len(data) or 1
            pieces = [data[start : start + step] for start in range(0, len(data), step)]
        for piece in pieces:
            self._raw.write(piece)
            await asyncio.sleep(0)

    async def _wait_for(self, count: int) -> None:
        while len(self._events) < count:
            assert await self._read(), f"the connection ended after {self._events}"

    async def _wait_until(self, event: Event) -> None:
        while event not in self._events:
            assert await self._read(), f"the connection ended before {event}"
        if event == Pong(b"the last"):
            self._events.remove(event)

    async def _read(self) -> bool:
        """Take in a frame; return False at the goodbye and at the end."""
        received = await self._raw.read_frame()
        if received is None:
            self._is_over = True
        elif received.opcode == CLOSE:
            await self._take_goodbye(received.payload)
        elif received.opcode == PONG:
            self._events.append(Pong(received.payload))
        else:
            assert received.opcode == self._speech.opcode, "an answer in the other kind of message"
            self._take(self._unpacked(received.payload))
        return not self._is_over

    async def _take_goodbye(self, payload: bytes) -> None:
        self._is_over = True
        self._code = int.from_bytes(payload[:2]) if payload else NO_CODE
        self._raw.write(frame(CLOSE, payload[:2]))
        assert await self._raw.read_frame() is None, "something came after the goodbye"

    def _take(self, message: dict[str, Any]) -> None:
        match message["t"]:
            case "pong":
                self._events.append(Answer(message["id"]))
            case "error":
                self._events.append(Refusal(message["code"]))
            case "deliver":
                mine = [event for event in message["events"] if event["kind"] == "message"]
                self._events += [Echo(event["body"]) for event in mine]
            case kind:
                assert kind in _ASIDE, message

    def _say(self, fields: dict[str, Any]) -> None:
        packed = json.dumps(fields).encode() if self._codec == JSON else msgpack.packb(fields)
        self._raw.write(frame(self._speech.opcode, packed))

    def _unpacked(self, payload: bytes) -> dict[str, Any]:
        read = json.loads if self._codec == JSON else msgpack.unpackb
        unpacked: dict[str, Any] = read(payload)
        return unpacked
