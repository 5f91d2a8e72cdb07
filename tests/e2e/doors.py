"""What a robot can do in a group, asked at one door or the other: over WebSocket, or over HTTP.

An operation of the table of permissions is one request here; its answer is ``ok`` or the error's code.
"""

import itertools
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import httpx

from imserver.logic.permissions import Operation
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Frame, Peer, Refused

OK = "ok"
_tags = itertools.count(1)
Request: TypeAlias = tuple[str, str, Any]


class Scene(NamedTuple):
    """A group to ask about.

    Attributes:
        conv: the group.
        message: seq of a message that somebody else wrote.
        member, stranger: robots in it, and not in it.
        new_name: a name that no group has.
    """

    conv: str
    message: int
    member: str
    stranger: str
    new_name: str


class Door(Protocol):
    """A way in for one robot with a bearer token."""

    async def open(
        self, server: ServerProcess, robot: str, *, scopes: Sequence[str] = ("*",)
    ) -> None:
        """Come in."""

    async def ask(self, operation: Operation, scene: Scene) -> str:
        """Carry out an operation; return ``ok`` or the code of the error."""

    async def aclose(self) -> None:
        """Go."""


class WebSocketDoor:
    """Frames over a WebSocket."""

    def __init__(self) -> None:
        self.peer: Peer | None = None

    async def open(
        self, server: ServerProcess, robot: str, *, scopes: Sequence[str] = ("*",)
    ) -> None:
        peer = self.peer = await Peer.open(server.ws_url)
        token, device = server.token(robot, scopes=scopes), f"d{next(_tags)}"
        await peer.hello(robot, key=None, token=token, device=device, auto=False)

    async def ask(self, operation: Operation, scene: Scene) -> str:
        assert self.peer is not None
        frame = _frame(operation, scene)
        if operation is Operation.SIGNAL:
            # It has no answer: the next one shows that there was no error.
            self.peer.errors.clear()
            await self.peer.write(frame)
            await self.peer.settle()
            return str(self.peer.errors[0]["code"]) if self.peer.errors else OK
        try:
            await self.peer.request(**frame)
        except Refused as refused:
            return refused.code
        return OK

    async def aclose(self) -> None:
        if self.peer is not None:
            await self.peer.vanish()


class HttpDoor:
    """Requests over HTTP."""

    def __init__(self) -> None:
        self._http: httpx.AsyncClient | None = None

    async def open(
        self, server: ServerProcess, robot: str, *, scopes: Sequence[str] = ("*",)
    ) -> None:
        headers = {"Authorization": f"Bearer {server.token(robot, scopes=scopes)}"}
        self._http = httpx.AsyncClient(
            base_url=f"{server.url}/v1", headers=headers, timeout=30, verify=False
        )

    async def ask(self, operation: Operation, scene: Scene) -> str:
        assert self._http is not None
        method, path, body = _http_request(operation, scene)
        key = {"Idempotency-Key": secrets.token_hex(8)}
        answer = await self._http.request(method, path, json=body, headers=key)
        return OK if answer.is_success else str(answer.json()["code"])

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()


def _frame(operation: Operation, scene: Scene) -> Frame:
    conv, member, cid = scene.conv, scene.member, secrets.token_hex(8)
    frames: dict[Operation, Frame] = {
        Operation.READ: {"t": "history", "conv": conv},
        Operation.SEND: {"t": "send", "conv": conv, "cid": cid, "body": "x"},
        Operation.SIGNAL: {"t": "signal", "conv": conv, "key": "k", "body": 1},
        Operation.AMEND_OTHERS: {
            "t": "send",
            "conv": conv,
            "cid": cid,
            "kind": "edit",
            "ref": scene.message,
            "body": "y",
        },
        Operation.LIST_MEMBERS: {"t": "list_members", "conv": conv},
        Operation.ADD_MEMBERS: {"t": "add_members", "conv": conv, "robots": [scene.stranger]},
        Operation.REMOVE_MEMBERS: {"t": "remove_members", "conv": conv, "robots": [member]},
        Operation.SET_ROLE: {"t": "set_role", "conv": conv, "robot": member, "role": "observer"},
        Operation.TOUCH_OWNERS: {"t": "set_role", "conv": conv, "robot": member, "role": "owner"},
        Operation.DELETE_GROUP: {"t": "delete_group", "conv": conv},
        Operation.LEAVE: {"t": "leave", "conv": conv},
        Operation.JOIN: {"t": "join", "conv": conv},
        Operation.CREATE_GROUP: {"t": "create_group", "name": scene.new_name},
    }
    return frames[operation]


def _http_request(operation: Operation, scene: Scene) -> Request:
    path, member = f"/groups/{scene.conv.removeprefix('g/')}", scene.member
    edit = {"kind": "edit", "ref": scene.message, "body": "y"}
    requests: dict[Operation, Request] = {
        Operation.READ: ("GET", f"{path}/events", None),
        Operation.SEND: ("POST", f"{path}/events", {"body": "x"}),
        Operation.SIGNAL: ("POST", f"{path}/signals", {"key": "k", "body": 1}),
        Operation.AMEND_OTHERS: ("POST", f"{path}/events", edit),
        Operation.LIST_MEMBERS: ("GET", f"{path}/members", None),
        Operation.ADD_MEMBERS: ("POST", f"{path}/members", {"robots": [scene.stranger]}),
        Operation.REMOVE_MEMBERS: ("DELETE", f"{path}/members/{member}", None),
        Operation.SET_ROLE: ("PUT", f"{path}/members/{member}", {"role": "observer"}),
        Operation.TOUCH_OWNERS: ("PUT", f"{path}/members/{member}", {"role": "owner"}),
        Operation.DELETE_GROUP: ("DELETE", path, None),
        Operation.LEAVE: ("POST", f"{path}/leave", None),
        Operation.JOIN: ("POST", f"{path}/join", None),
        Operation.CREATE_GROUP: ("POST", "/groups", {"name": scene.new_name}),
    }
    return requests[operation]
