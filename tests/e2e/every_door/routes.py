"""How HTTP carries what a frame asks for: its method, its path, and where the answer's result stands."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

Fields: TypeAlias = dict[str, Any]


class Route(NamedTuple):
    """One operation over HTTP.

    Attributes:
        method: of the request.
        path: with the names of fields that it takes up; ``{at}`` is the conversation's.
        result: where the result stands in the answer; all of it if None.
        asks: whether what is left of the fields goes into the query, and not into the body.
    """

    method: str
    path: str
    result: str | None = None
    asks: bool = False


ROUTES: Final[dict[str, Route]] = {
    "send": Route("POST", "{at}/events"),
    "history": Route("GET", "{at}/events", "events", asks=True),
    "ack": Route("POST", "{at}/acks"),
    "signal": Route("POST", "{at}/signals"),
    "create_group": Route("POST", "/groups"),
    "delete_group": Route("DELETE", "{at}"),
    "join": Route("POST", "{at}/join"),
    "leave": Route("POST", "{at}/leave"),
    "add_members": Route("POST", "{at}/members"),
    "remove_members": Route("DELETE", "{at}/members", asks=True),
    "set_role": Route("PUT", "{at}/members/{robot}"),
    "list_groups": Route("GET", "/groups", "groups", asks=True),
    "list_members": Route("GET", "{at}/members", "members", asks=True),
    "list_robots": Route("GET", "/robots", "robots", asks=True),
    "register": Route("POST", "/robots"),
    "whoami": Route("GET", "/whoami"),
    "ping": Route("GET", "/server"),
}
"""Every frame of a client that needs no connection."""

_RENAMED: Final = {"remove_members": {"robots": "robot"}}
"""Fields that a query repeats are named by the one."""

_IN_HEADERS: Final = {"cid": "Idempotency-Key"}


class Asked(NamedTuple):
    """A request as it goes out."""

    method: str
    path: str
    query: Fields
    body: Fields | None
    headers: dict[str, bytes]
    result: Callable[[Any], Any]


def asked(t: str, fields: Fields) -> Asked:
    """Return the request that does what the frame ``t`` with these fields does."""
    route, left = ROUTES[t], dict(fields)
    conv = left.pop("conv", None)
    path = route.path.replace("{at}", "" if conv is None else at(conv))
    if "{robot}" in path:
        path = path.replace("{robot}", left.pop("robot"))
    headers = {
        _IN_HEADERS[name]: left.pop(name).encode() for name in [*left] if name in _IN_HEADERS
    }
    for name, other in _RENAMED.get(t, {}).items():
        left[other] = left.pop(name)
    has_body = route.method in ("POST", "PUT") and bool(left)
    return Asked(
        route.method,
        path,
        left if route.asks else {},
        left if has_body else None,
        headers,
        lambda answer: answer if route.result is None else answer[route.result],
    )


def at(conv: str) -> str:
    """Return the path of a conversation."""
    kind, _, name = conv.partition("/")
    return f"/groups/{name}" if kind == "g" else f"/direct/{name}"
