"""A real Redis Cluster of one's own: masters that share the slots, and a replica of the first one."""

import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hiredis

from imserver.route.slots import SLOTS, partition_of, slot_of
from tests.ports import free_port
from tests.redis_server import RedisServer

PATIENT_MS = 15_000
"""After so long a server counts as failed; on a busy machine one may stand still for a second."""

START_S = 30


class RedisClusterServers:
    """The servers of a cluster: ``masters`` share the slots, in order; ``replica`` follows the first."""

    def __init__(self, folder: Path, *, masters: int, replica: bool) -> None:
        count = masters + replica
        self.servers = [RedisServer(options=_options(folder / f"{n}.conf")) for n in range(count)]
        self.masters = self.servers[:masters]
        self.replica = self.servers[masters] if replica else None

    @property
    def url(self) -> str:
        """Where the cluster is, by two of its servers."""
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])
        return f"redis+cluster://{hosts}"

    def start(self) -> None:
        for server in self.servers:
            server.start()
        for number, server in enumerate(self.masters):
            first, last = (SLOTS * end // len(self.masters) for end in (number, number + 1))
            call(server, "CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            call(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        bus_ports = {server.port: int(server.option("--cluster-port")) for server in self.servers}
        for server in self.servers[1:]:
            first_port = self.servers[0].port
            call(server, "CLUSTER", "MEET", "127.0.0.1", first_port, bus_ports[first_port])
        wait_until(lambda: all(len(_nodes(s)) == len(self.masters) for s in self.servers))
        if self.replica is not None:
            call(self.replica, "CLUSTER", "REPLICATE", self.id_of(self.masters[0]))
        wait_until(self.is_well)

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    def id_of(self, server: RedisServer) -> str:
        return str(call(server, "CLUSTER", "MYID").decode())

    def master_of(self, channel: str) -> RedisServer:
        """Return the server among those the cluster began with that has a channel's slot now."""
        slot = slot_of(partition_of(channel))
        for first, last, (_, port, *_), *_ in call(self.alive()[0], "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def move(self, channel: str, to: RedisServer) -> None:
        """Move a channel's slot, which has no keys, to another master."""
        slot, name = slot_of(partition_of(channel)), self.id_of(to)
        for server in (to, *self.masters):
            if server.running:
                call(server, "CLUSTER", "SETSLOT", slot, "NODE", name)

    def take_over(self) -> None:
        """Have the replica take the first master's place, as it does once the others have given that one up.

        How long they wait for one that stands still is no business of these tests: on a busy machine a short
        time would be over for masters that are well.
        """
        assert self.replica is not None, "there is no replica"
        call(self.replica, "CLUSTER", "FAILOVER", "TAKEOVER")

    def alive(self) -> list[RedisServer]:
        return [server for server in self.servers if server.running]

    def is_well(self) -> bool:
        """Tell whether all servers say that the cluster works."""
        infos = [call(server, "CLUSTER", "INFO") for server in self.servers]
        is_ok = all(b"cluster_state:ok" in info for info in infos)
        if self.replica is None:
            return is_ok
        return is_ok and b"master_link_status:up" in call(self.replica, "INFO", "replication")


def _options(config: Path) -> tuple[str, ...]:
    return (
        *("--cluster-enabled", "yes"),
        *("--cluster-config-file", str(config)),
        *("--cluster-node-timeout", str(PATIENT_MS)),
        *("--cluster-port", str(free_port())),
        *("--repl-diskless-sync-delay", "0"),
        *("--cluster-allow-replica-migration", "no"),
    )


def call(server: RedisServer, *command: Any) -> Any:
    """Have one server carry out a command, and return what it answers, which is no error."""
    words = [str(word).encode() for word in command]
    said = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    reader = hiredis.Reader()
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(b"*%d\r\n%s" % (len(words), said))
        while (answer := reader.gets()) is False:
            some = connection.recv(65_536)
            assert some, f"{command}: the server has hung up"
            reader.feed(some)
    assert not isinstance(answer, Exception), f"{command}: {answer}"
    return answer


def _nodes(server: RedisServer) -> list[str]:
    found = call(server, "CLUSTER", "SLOTS")
    return list({node[1] for shard in found for node in shard[2:]}) if found else []


def wait_until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline_s, "the cluster does not form"
        time.sleep(0.02)


@contextlib.contextmanager
def redis_cluster(*, masters: int = 3, replica: bool = False) -> Iterator[RedisClusterServers]:
    """Run a Redis Cluster for a while."""
    folder = Path(tempfile.mkdtemp(prefix="imserver-redis-"))
    cluster = RedisClusterServers(folder, masters=masters, replica=replica)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()
        shutil.rmtree(folder, ignore_errors=True)
