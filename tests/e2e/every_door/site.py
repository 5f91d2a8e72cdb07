"""Where a deployment is reached: the addresses behind each door, one or several, and who lets robots in."""

import ssl
from collections.abc import Callable
from typing import NamedTuple, Self

from tests.e2e.server_process import ServerProcess


class Site(NamedTuple):
    """One server, or the nodes of a cluster; whoever comes in takes the next address of its door.

    Attributes:
        websocket, http, tcp: URLs.
        tls: how to check certificates, or None where all is plain.
        enroll: makes an enrolment token for a robot's name.
        bearer: makes a bearer token for a robot's name.
    """

    websocket: tuple[str, ...]
    http: tuple[str, ...]
    tcp: tuple[str, ...]
    tls: ssl.SSLContext | None
    enroll: Callable[[str], str]
    bearer: Callable[[str], str]

    @classmethod
    def of(cls, *servers: ServerProcess) -> Self:
        """Return the site of servers that share their store and their key."""
        first = servers[0]
        return cls(
            tuple(server.ws_url for server in servers),
            tuple(server.url for server in servers),
            tuple(server.tcp_url for server in servers),
            first.tls.context() if first.tls is not None else None,
            first.enroll,
            first.token,
        )
