"""The doors over HTTP: one way to ask, and three to read: long polls, server-sent events, lines of JSON."""

import base64
import itertools
import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from examples.wire_client import Refused
from tests.e2e.every_door.member import TIMEOUT_S, Event, Member
from tests.e2e.every_door.routes import asked, at
from tests.e2e.wire import together
from tests.server_sent_events import parsed

NDJSON = "application/x-ndjson"
PAGE = 500


class HttpMember(Member):
    """A robot that asks over HTTP; how it reads is its door's."""

    _http: httpx.AsyncClient
    _places: dict[str, int]

    async def register(self) -> None:
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        async with self._client({}) as http:
            shown = {"token": self.site.enroll(self.name), "robot": self.name}
            shown["public_key"] = base64.b64encode(key).decode()
            _checked(await http.post("/v1/robots", json=shown))

    async def enter(self) -> None:
        token = self.site.bearer(self.name)
        self._http = self._client({"Authorization": f"Bearer {token}"})
        found = await self._get("/conversations")
        self._places = {place["conv"]: place["acked"] for place in found["conversations"]}

    async def lose(self) -> None:
        await self._end_reading()
        await self._http.aclose()

    async def ask(self, t: str, **fields: Any) -> Any:
        method, path, query, body, headers, result = asked(t, fields)
        sent: Any = headers
        answer = await self._http.request(
            method, f"/v1{path}", params=query, json=body, headers=sent
        )
        return result(_checked(answer))

    async def send_all(self, conv: str, bodies: Iterable[Any]) -> None:
        for some in _by_twenties(bodies):
            await together(*(self.send(conv, body) for body in some))

    async def ack(self, conv: str, seq: int) -> None:
        await self.ask("ack", conv=conv, seq=seq)

    async def signal(self, conv: str, key: str, body: Any) -> None:
        await self.ask("signal", conv=conv, key=key, body=body)

    async def acked(self, conv: str) -> int:
        places = (await self._get("/conversations?device=looks"))["conversations"]
        (place,) = [place for place in places if place["conv"] == conv]
        return int(place["acked"])

    async def after(self, conv: str) -> int:
        """Return behind which event to go on: the last that is here, else where the server knows it to be."""
        last = self.last(conv)
        if last is not None:
            return last
        if conv not in self._places:
            found = await self._get("/conversations")
            self._places = {place["conv"]: place["acked"] for place in found["conversations"]}
        return self._places.get(conv, 0)

    async def _get(self, path: str) -> Any:
        return _checked(await self._http.get(f"/v1{path}"))

    def _client(self, headers: dict[str, str]) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.address,
            headers=headers,
            timeout=TIMEOUT_S,
            verify=self.site.tls or False,
        )

    async def _end_reading(self) -> None:
        """Let go of what reading holds open."""


class PollMember(HttpMember):
    """A robot that reads by long polls."""

    hears_signals = False

    async def read(self, conv: str) -> None:
        after = await self.after(conv)
        query = f"after={after}&wait={TIMEOUT_S // 2}&limit={PAGE}"
        page = await self._get(f"{at(conv)}/events?{query}")
        self.keep(conv, page["events"])


class StreamingMember(HttpMember):
    """A robot that reads a stream for each conversation."""

    accept: str

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._streams: dict[str, tuple[httpx.Response, AsyncIterator[Any]]] = {}

    async def read(self, conv: str) -> None:
        if conv not in self._streams:
            await self._open(conv)
        _, said = self._streams[conv]
        try:
            self.take(conv, await anext(said))
        except StopAsyncIteration:
            del self._streams[conv]

    async def _open(self, conv: str) -> None:
        query, headers = self.begin(await self.after(conv))
        path = f"/v1{at(conv)}/events/stream?signals=true{query}"
        request = self._http.build_request("GET", path, headers={"Accept": self.accept} | headers)
        answer = await self._http.send(request, stream=True)
        if answer.is_error:
            await answer.aread()
            _checked(answer)
        self._streams[conv] = answer, self.said_by(answer)

    @abstractmethod
    def begin(self, after: int) -> tuple[str, dict[str, str]]:
        """Return what to add to the query and the headers, to begin behind ``after``."""

    @abstractmethod
    def said_by(self, answer: httpx.Response) -> AsyncIterator[Any]:
        """Yield what a stream says."""

    @abstractmethod
    def take(self, conv: str, said: Any) -> None:
        """Take in what a stream said."""

    async def _end_reading(self) -> None:
        for answer, _ in self._streams.values():
            with suppress(httpx.TransportError):
                await answer.aclose()
        self._streams.clear()


class EventStreamMember(StreamingMember):
    """A robot that reads server-sent events."""

    accept = "text/event-stream"

    def begin(self, after: int) -> tuple[str, dict[str, str]]:
        return "", {"Last-Event-ID": str(after)}

    async def said_by(self, answer: httpx.Response) -> AsyncIterator[Any]:
        text = ""
        async for chunk in answer.aiter_text():
            whole, end, text = (text + chunk).rpartition("\n\n")
            for said in parsed(whole + end):
                yield said

    def take(self, conv: str, said: Any) -> None:
        if said.type == "message":
            assert said.id == str(said.data["seq"])
            self.keep(conv, [said.data])
        elif said.type == "signal":
            self.signals.append(said.data)


class LinesMember(StreamingMember):
    """A robot that reads lines of JSON."""

    accept = NDJSON

    def begin(self, after: int) -> tuple[str, dict[str, str]]:
        return f"&after={after}", {}

    async def said_by(self, answer: httpx.Response) -> AsyncIterator[Any]:
        async for line in answer.aiter_lines():
            if line:
                yield json.loads(line)

    def take(self, conv: str, said: Event) -> None:
        if "t" not in said:
            self.keep(conv, [said])
        elif said["t"] == "signal":
            self.signals.append(said)


def _by_twenties(bodies: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(bodies)
    while some := list(itertools.islice(left, 20)):
        yield some


def _checked(answer: httpx.Response) -> Any:
    if answer.is_error:
        problem = answer.json()
        raise Refused({"code": problem["code"], "message": problem["detail"]})
    return answer.json() if answer.content else None
