"""A robot that knows nothing but HTTP: it sends with POST, and reads by long polls or by a stream."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.e2e.server_process import ServerProcess
from tests.server_sent_events import Said, parsed

TIMEOUT_S = 120
"""No test takes so long, and nothing is asserted about it: it is there so that none hangs for ever."""

NDJSON = "application/x-ndjson"


class HttpRobot:
    """A robot with a bearer token, which keeps the log that it was given.

    Attributes:
        events: what it was given so far, each behind the one before.
    """

    def __init__(self, server: ServerProcess, name: str, *, admin: bool = False) -> None:
        headers = {"Authorization": f"Bearer {server.token(name, admin=admin)}"}
        self.name = name
        self.authorization = headers["Authorization"]
        self.port = httpx.URL(server.url).port
        self.events: list[dict[str, Any]] = []
        self._http = httpx.AsyncClient(base_url=server.url, headers=headers, timeout=TIMEOUT_S)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    @property
    def last(self) -> int:
        """The seq of the last event it was given."""
        return int(self.events[-1]["seq"]) if self.events else 0

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask for anything."""
        return await self._http.request(method, f"/v1{path}", **more)

    async def metrics(self) -> str:
        """Return what its server counts."""
        return (await self._http.get("/metrics")).text

    async def send(self, group: str, body: Any, *, key: str, **fields: Any) -> dict[str, Any]:
        """Send an event and return its place."""
        answer = await self.ask(
            "POST",
            f"/groups/{group}/events",
            json={"body": body} | fields,
            headers={"Idempotency-Key": key},
        )
        assert answer.status_code in (200, 201), answer.text
        sent: dict[str, Any] = answer.json()
        return sent

    async def poll_until(self, group: str, seq: int) -> None:
        """Read by long polls until it has the event at ``seq``."""
        while self.last < seq:
            answer = await self.ask("GET", f"/groups/{group}/events?after={self.last}&wait=20")
            assert answer.status_code == 200, answer.text
            for event in answer.json()["events"]:
                self._take(event)

    async def stream_until(self, group: str, seq: int) -> None:
        """Read a stream of server-sent events until it has the event at ``seq``."""
        last = {"Last-Event-ID": str(self.last)}
        path = f"/v1/groups/{group}/events/stream"
        async with self._http.stream("GET", path, headers=last) as answer:
            async for said in said_by(answer):
                if said.type == "message":
                    assert said.id == str(said.data["seq"])
                    self._take(said.data)
                if self.last >= seq:
                    return

    async def read_lines_until(self, group: str, seq: int) -> None:
        """Read a stream of JSON lines until it has the event at ``seq``."""
        path = f"/v1/groups/{group}/events/stream?after={self.last}"
        async with self._http.stream("GET", path, headers={"Accept": NDJSON}) as answer:
            async for line in answer.aiter_lines():
                if line:
                    self._take(json.loads(line))
                if self.last >= seq:
                    return

    async def read_bytes(self, group: str, count: int, *, after: int, head: int) -> str:
        """Read so many bytes of a stream, or up to the event at ``head``, and cut the connection."""
        path, last = f"/v1/groups/{group}/events/stream", {"Last-Event-ID": str(after)}
        body = b""
        async with self._http.stream("GET", path, headers=last) as answer:
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) >= count or f"\nid: {head}\n".encode() in body:
                    break
        return body[:count].decode(errors="ignore")

    @asynccontextmanager
    async def following(self, group: str, query: str = "") -> AsyncIterator[httpx.Response]:
        """Open a stream and hand out its answer."""
        path = f"/v1/groups/{group}/events/stream?{query}"
        async with self._http.stream("GET", path) as answer:
            yield answer

    def _take(self, event: dict[str, Any]) -> None:
        assert event["seq"] == self.last + 1, f"{event['seq']} after {self.last}"
        self.events.append(event)


async def stays_of(server: ServerProcess) -> int:
    """Return how many long polls and streams are open on all nodes of a deployment."""
    found = 0.0
    async with httpx.AsyncClient(timeout=TIMEOUT_S, verify=False) as http:
        for node in server.nodes:
            metrics = (await http.get(f"{node.url}/metrics")).text
            found += float(metrics.partition("\nimserver_http_stays ")[2].partition("\n")[0])
    return int(found)


async def said_by(answer: httpx.Response) -> AsyncIterator[Said]:
    """Yield the server-sent events of an answer as they come."""
    text = ""
    async for chunk in answer.aiter_text():
        whole, end, text = (text + chunk).rpartition("\n\n")
        for said in parsed(whole + end):
            yield said
