"""A client that follows a stream of the application, over ASGI, as fast or slowly as the test says."""

import asyncio
from collections.abc import Callable
from typing import Any

from imserver.access.http.last_answers import LINK
from tests.server_sent_events import Said, parsed
from tests.unit.access.http.api_in_memory import Api, HeldLink, scope


class Follower:
    """A request for a stream, under way.

    Attributes:
        link: the connection.
        status, headers: of the answer.
        body: what came so far.
    """

    def __init__(self, api: Api, path: str, headers: dict[str, str]) -> None:
        self.link = HeldLink()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self._room = asyncio.Event()
        self._room.set()
        asked = scope("GET", path, headers) | {LINK: self.link}
        self._task = asyncio.get_running_loop().create_task(
            api.app(asked, self._receive, self._send)
        )

    def block(self) -> None:
        """Take nothing more."""
        self._room.clear()

    def take(self) -> None:
        """Take everything again."""
        self._room.set()

    def lose(self) -> None:
        """Be gone."""
        assert self.link.stay is not None
        self.link.stay.on_lost()

    def tick(self, seconds: int = 1) -> bool:
        """Let so many seconds pass; tell whether the connection is kept."""
        assert self.link.stay is not None
        return [self.link.stay.on_tick() for _ in range(seconds)][-1]

    @property
    def is_over(self) -> bool:
        """Whether the answer has come to its end."""
        return self._task.done()

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def said(self) -> list[Said]:
        """What came so far, as a browser sees it."""
        return parsed(self.text)

    @property
    def seqs(self) -> list[int]:
        """The seq of the events of the log that came so far."""
        assert all(said.id == str(said.data["seq"]) for said in self.messages)
        return [said.data["seq"] for said in self.messages]

    @property
    def messages(self) -> list[Said]:
        """The events of the log that came so far."""
        return [said for said in self.said if said.type == "message"]

    def of(self, kind: str) -> list[Any]:
        """Return what came so far of another type, without the rest."""
        return [said.data for said in self.said if said.type == kind]

    async def until(self, condition: Callable[[], object]) -> None:
        """Return when ``condition`` holds, which needs no time to pass."""
        while not condition():
            assert not (self.is_over and not condition()), self.text
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Return when the answer has come to its end."""
        await self._task

    async def _receive(self) -> Any:
        raise AssertionError("a stream has no body to receive")

    async def _send(self, message: Any) -> None:
        await self._room.wait()  # as a server does: it waits for room before it writes
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")


async def follow(
    api: Api,
    query: str = "",
    *,
    robot: str | None = "r2",
    headers: dict[str, str] | None = None,
    conversation: str = "/v1/groups/dock",
) -> Follower:
    """Follow a conversation as ``robot``; return once the answer has begun."""
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    if robot is not None:
        sent["authorization"] = f"Bearer {api.node.bearer_token(robot)}"
    follower = Follower(api, f"{conversation}/events/stream?{query}", sent)
    await follower.until(lambda: follower.status)
    return follower
