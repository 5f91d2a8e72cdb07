"""The robots of a scenario: named, given tokens and connected."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypedDict

from bench.load.connection import Connection
from bench.load.wire import Broken
from imserver.core.clock import SystemClock
from imserver.core.tokens import TokenAuthority, bearer, enrolment
from imserver.data.directory import DataDirectory
from imserver.protocol import client_frames, server_frames

_TTL_MS: Final = 3_600_000


class _Fresh(TypedDict):
    token_id: str
    now_ms: int
    ttl_ms: int


class Fleet:
    """Connects robots to one server, with tokens signed by the key in its data directory."""

    def __init__(self, port: int, directory: Path) -> None:
        self.port: Final = port
        self._clock = SystemClock()
        self._authority = TokenAuthority(DataDirectory(directory).signing_key())

    def bearer(self, robot: str) -> str:
        """Return a token that opens sessions as ``robot``; its first use registers the name."""
        return self._authority.mint(bearer(robot, **self._fresh()))

    def enrolment(self, robot: str) -> str:
        """Return a token that registers ``robot`` with a key."""
        return self._authority.mint(enrolment(robot, **self._fresh()))

    def _fresh(self) -> _Fresh:
        return {
            "token_id": secrets.token_hex(16),
            "now_ms": self._clock.now_ms(),
            "ttl_ms": _TTL_MS,
        }

    def connect(
        self, robot: str, *, auto: bool = True, window: int = 1024
    ) -> tuple[Connection, server_frames.Welcome]:
        """Return a connection whose session is open."""
        connection = Connection(self.port)
        return connection, connection.hello(robot, self.bearer(robot), auto=auto, window=window)

    def create_group(self, owner: Connection, name: str, members: Sequence[str]) -> str:
        """Create a group and return its conversation."""
        answer = owner.request(client_frames.CreateGroup(id=0, name=name, members=list(members)))
        conv = f"g/{name}"
        if not isinstance(answer.result, dict) or answer.result.get("conv") != conv:
            raise Broken(f"creating {conv} was answered with {answer}")
        return conv
