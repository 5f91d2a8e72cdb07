"""The HTTP application of a node in memory, asked over ASGI as a server would ask it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from litestar import Litestar

from imserver.access.http.application import Parts, application
from imserver.access.http.last_answers import LINK
from imserver.access.http.link import Stay
from imserver.access.http.visit import session_for
from imserver.core.settings import Settings
from imserver.core.warrant import Warrant
from imserver.protocol.names import RobotName
from tests.unit.access.node_in_memory import NodeInMemory, running
from tests.unit.access.recording_transport import RecordingTransport


class Answer:
    """What came back of one request."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        assert self.headers["content-type"] in ("application/json", "application/problem+json")
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code of a problem."""
        assert self.headers["content-type"] == "application/problem+json"
        return str(self.json["code"])


class HeldLink:
    """Stands in for the connection of a request.

    Attributes:
        stay: the answer that is being given, if it takes its time.
    """

    def __init__(self) -> None:
        self.stay: Stay | None = None
        self.transport = RecordingTransport(asyncio.Protocol())

    @property
    def is_over(self) -> bool:
        return self.transport.is_closing()


class Api:
    """The application, and requests to it.

    Attributes:
        node: the node behind it.
        app: what the server would be given.
        link: the connection of every request.
    """

    def __init__(self, node: NodeInMemory, app: Litestar) -> None:
        self.node = node
        self.link = HeldLink()
        self.app = app

    async def ask(
        self,
        method: str,
        url: str,
        *,
        robot: str | None = None,
        admin: bool = False,
        body: Any = None,
        headers: dict[str, str] | None = None,
        chunks: list[bytes] | None = None,
    ) -> Answer:
        """Ask as ``robot``, or without a token; ``body`` travels as JSON, ``chunks`` as they are."""
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if robot is not None:
            sent["authorization"] = f"Bearer {self.node.bearer_token(robot, admin=admin)}"
        if body is not None:
            chunks = [json.dumps(body).encode()]
        if chunks is not None:
            sent.setdefault("content-type", "application/json")
            sent.setdefault("content-length", str(sum(len(chunk) for chunk in chunks)))
        exchange = _Exchange(chunks or [])
        asked = scope(method, url, sent) | {LINK: self.link}
        await self.app(asked, exchange.receive, exchange.send)
        return exchange.answer()

    async def send(self, robot: str, path: str, body: Any, *, key: str, **fields: Any) -> Answer:
        """Send an event to the conversation at ``path``."""
        headers = {"Idempotency-Key": key}
        return await self.ask(
            "POST", f"{path}/events", robot=robot, body={"body": body} | fields, headers=headers
        )


class _Exchange:
    """One request's two halves."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks
        self._start: dict[str, Any] = {}
        self._body = b""

    async def receive(self) -> Any:
        chunk = self._chunks.pop(0) if self._chunks else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._body += message.get("body", b"")

    def answer(self) -> Answer:
        headers = {name.decode(): value.decode() for name, value in self._start["headers"]}
        return Answer(self._start["status"], headers, self._body)


def scope(method: str, url: str, headers: dict[str, str]) -> Any:
    """Return the scope of a request, as the ASGI specification describes it."""
    parts = urlsplit(url)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:7400"), *raw],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 7_400),
        "state": {},
    }


@asynccontextmanager
async def api_in_memory(settings: Settings | None = None) -> AsyncIterator[Api]:
    """Run a node in memory with its application; three robots are registered, and r1 has the group dock."""
    settings = settings if settings is not None else Settings()
    async with running(settings) as node:
        # Compiling the routes takes a while: not in a step of the loop, which is watched.
        parts = Parts(
            node.node.cases,
            node.node.stays,
            registry=node.node.registry,
            clock=node.clock,
            probe=node.store.probe,
            is_draining=lambda: False,
            context=node.context,
            http=settings.http,
            files=settings.files,
            buffer_bytes_max=settings.delivery.write_buffer_bytes_max,
        )
        app = await asyncio.to_thread(application, parts)
        await node.store.enlist("r1", "r2", "r3")
        owner = session_for(Warrant(RobotName("r1"), 0))
        await node.node.cases.groups.create(owner, "dock", ["r2"], is_open=False)
        yield Api(node, app)
