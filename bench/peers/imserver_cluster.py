"""imserver as a cluster: nodes on one MongoDB replica set of three, and a Redis between them."""

import shutil
import sys
import urllib.request
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct
from redis import Redis

from bench.cluster_server import ClusterServer, Running
from bench.peers import mongodb, program
from bench.peers.imserver import minted
from bench.process import Place, Server
from imserver import __version__
from imserver.data.directory import DataDirectory
from tests.ports import free_port

_MEMBERS: Final = 3
_COUNTED: Final = {
    "imserver_commit_events_count": "commits",
    "imserver_commit_events_sum": "committed",
    "imserver_commit_seconds_sum": "commit_s",
    "imserver_hints_published_total": "hints",
    "imserver_hints_received_total": "hints_received",
    "imserver_events_fetched_total": "fetched",
    'imserver_store_retries_total{why="overtaken"}': "overtaken",
}


class ImserverCluster(Struct, frozen=True):
    """``imserver serve --store … --route …``, so many times. ``bare``: hints do not carry the events."""

    name: str
    nodes: int
    bare: bool = False
    dialect: str = "imserver"
    in_flight: int = 32
    options: dict[str, str] = {}

    def missing(self) -> str | None:
        if mongodb.program() is None:
            return "mongod is not installed (make installs it, with what the tests need)"
        return program.missing("redis-server")

    def version(self) -> str:
        return __version__

    def settings(self) -> dict[str, str]:
        hints = "name the head" if self.bare else "carry what was committed (default)"
        set_of = f"replica set of {_MEMBERS}, majority and journal"
        return {"nodes": str(self.nodes), "store": set_of, "hints": hints, **mongodb.settings()}

    def start(self, directory: Path, place: Place) -> Running:
        cluster = ClusterServer(directory)
        try:
            self._start(cluster, place)
        except BaseException:
            cluster.close()
            raise
        return cluster

    def tokens(self, server: Running, robots: Sequence[str]) -> dict[str, str]:
        return minted(server.directory / "key", robots)

    def _start(self, cluster: ClusterServer, place: Place) -> None:
        members = mongodb.start(cluster.directory, place, _MEMBERS)
        redis = _redis(cluster.directory, place)
        for server in (*members, redis):
            cluster.add(server)
        url = mongodb.initiate(members)
        redis.wait_listening(b"Ready to accept connections")
        primary = mongodb.primary(url)
        cluster.name("primary", *(one for one in members if one.port == primary))
        cluster.name("secondaries", *(one for one in members if one.port != primary))
        cluster.name("redis", redis)
        DataDirectory(cluster.directory / "key").signing_key()
        for number in range(self.nodes):
            home = cluster.directory / f"node{number}"
            shutil.copytree(cluster.directory / "key", home / "store")
            node = self._node(home, place, url, redis.port)
            cluster.add(node)
            cluster.nodes.append(node)
        cluster.name("nodes", *cluster.nodes)
        for node in cluster.nodes:
            node.wait_listening(b"ready http://")
        cluster.counting = partial(_counted, cluster.ports, url, redis.port)

    def _node(self, home: Path, place: Place, url: str, redis_port: int) -> Server:
        port = free_port()
        command = [
            *(sys.executable, "-m", "imserver", "serve", "--listen", f"127.0.0.1:{port}"),
            *("--data", str(home / "store"), "--store", url),
            *("--route", f"redis://127.0.0.1:{redis_port}/0"),
        ]
        bare = {"IMSERVER_ROUTE_CARRIED_BYTES_MAX": "0"} if self.bare else {}
        environment = {"PYTHONPATH": str(program.ROOT), **bare}
        return Server(command, port=port, directory=home, place=place, environment=environment)


def _redis(directory: Path, place: Place) -> Server:
    home = directory / "redis"
    home.mkdir()
    port = free_port()
    command = [
        *(program.path_of("redis-server"), "--bind", "127.0.0.1", "--port", str(port)),
        *("--dir", str(home), "--save", "", "--appendonly", "no"),
    ]
    return Server(command, port=port, directory=home, place=place)


def _counted(ports: Sequence[int], url: str, redis_port: int) -> dict[str, float]:
    """Return what nodes, MongoDB and Redis have counted since they were started."""
    found = dict.fromkeys(_COUNTED.values(), 0.0)
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                name, _, value = line.rpartition(" ")
                if name in _COUNTED:
                    found[_COUNTED[name]] += float(value)
    return {**found, **mongodb.counts(url), **_redis_counts(redis_port)}


def _redis_counts(port: int) -> dict[str, float]:
    with Redis(port=port) as redis:
        stats = redis.info("stats")
        publish = redis.info("commandstats").get("cmdstat_publish", {})
    return {
        "redis_publishes": float(publish.get("calls", 0)),
        "redis_in_bytes": float(stats["total_net_input_bytes"]),
        "redis_out_bytes": float(stats["total_net_output_bytes"]),
    }
