"""imserver itself, as its users start it."""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

import imserver
from bench.cluster_server import Running
from bench.peers.program import ROOT
from bench.process import Place, Server
from imserver.core.clock import SystemClock
from imserver.core.tokens import TokenAuthority, bearer, enrolment
from imserver.data.directory import DataDirectory
from tests.ports import free_port

_TTL_MS: Final = 7_200_000


class Imserver(Struct, frozen=True):
    """``imserver serve`` with its defaults: every message durable before it is answered or delivered."""

    name: str = "imserver"
    challenge: bool = False
    random_cids: bool = False
    dialect: str = "imserver"
    in_flight: int = 512

    @property
    def options(self) -> dict[str, str]:
        """With ``challenge``, robots prove an Ed25519 key instead of showing a token; cids may be random."""
        challenge = {"auth": "challenge"} if self.challenge else {}
        return challenge | ({"cids": "random"} if self.random_cids else {})

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return imserver.__version__

    def settings(self) -> dict[str, str]:
        return {"durability": "full (default)", **self.options}

    def start(self, directory: Path, place: Place) -> Server:
        port = free_port()
        server = Server(
            [
                *(sys.executable, "-m", "imserver", "serve", "--listen", f"127.0.0.1:{port}"),
                *("--data", str(directory / "store")),
            ],
            port=port,
            directory=directory,
            place=place,
            environment={"PYTHONPATH": str(ROOT)},
        )
        server.wait_listening(b"ready http://")
        return server

    def tokens(self, server: Running, robots: Sequence[str]) -> dict[str, str]:
        return minted(server.directory / "store", robots, enrols=self.challenge)


def minted(directory: Path, robots: Sequence[str], *, enrols: bool = False) -> dict[str, str]:
    """Return a token for each robot, signed by the key in a data directory: bearer, or one that enrols it."""
    make = enrolment if enrols else bearer
    now_ms = SystemClock().now_ms()
    authority = TokenAuthority(DataDirectory(directory).signing_key())
    return {
        robot: authority.mint(
            make(robot, token_id=secrets.token_hex(16), now_ms=now_ms, ttl_ms=_TTL_MS)
        )
        for robot in robots
    }
