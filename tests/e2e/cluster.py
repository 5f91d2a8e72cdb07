"""The nodes of a cluster, each a real server in a process of its own, which tests may take for one server."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from imserver.data.directory import KEY_NAME, KEY_RING_NAME, DataDirectory
from tests.e2e.server_process import ServerProcess

NODES = 3


class Cluster(ServerProcess):
    """Several nodes on a MongoDB and a Redis, behind the surface of one server.

    Who asks where it is reached is told the address of the next node, so that whoever comes in is spread over
    all of them. What is done to the server is done to each node. Its data directory is the first node's; the
    others have theirs beside it, with the same signing key, and the same sealing keys if there are any.
    """

    def __init__(
        self,
        data: Path,
        *,
        store: str,
        route: str,
        count: int = NODES,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data)
        shared = ("--store", store, "--route", route)
        beside = [data.with_name(f"{data.name}-node{number}") for number in range(2, count + 1)]
        self._store = store
        self._nodes = tuple(
            ServerProcess(folder, arguments=(*arguments, *shared), environment=environment)
            for folder in (data, *beside)
        )
        self._turns = itertools.cycle(self._nodes)

    @property
    def nodes(self) -> tuple[ServerProcess, ...]:
        """The nodes."""
        return self._nodes

    @property
    def port(self) -> int:
        """Where the next node serves HTTP and WebSockets."""
        return next(self._turns).port

    @property
    def tcp_port(self) -> int:
        """Where the next node takes raw TCP, if the arguments ask for it."""
        return next(self._turns).tcp_port

    @property
    def pid(self) -> int:
        """There is no one process to speak of."""
        raise AssertionError("a test that looks at one process runs on one node: mark it so")

    @property
    def running(self) -> bool:
        """Whether any node is there."""
        return any(node.running for node in self._nodes)

    def start(self) -> None:
        """Start all nodes at once, and return when each says that it is ready."""
        DataDirectory(self.data).signing_key()
        for node in self._nodes[1:]:
            node.data.mkdir(exist_ok=True)
            for keys in (KEY_NAME, KEY_RING_NAME):
                if (self.data / keys).exists():
                    shutil.copy(self.data / keys, node.data)
        with ThreadPoolExecutor(len(self._nodes)) as pool:
            list(pool.map(ServerProcess.start, self._nodes))

    def stdout(self) -> list[str]:
        """Return the lines that the running processes wrote to standard output."""
        return [line for node in self._nodes for line in node.stdout()]

    def stderr(self) -> str:
        """Return what all processes wrote to standard error, node by node."""
        return "".join(node.stderr() for node in self._nodes)

    def stored(self) -> bytes:
        """Return all documents that the database holds, one after the other."""
        options = CodecOptions(document_class=RawBSONDocument)
        with MongoClient[Any](self._store) as client:
            database = client.get_default_database().with_options(options)
            return b"".join(
                document.raw
                for name in database.list_collection_names()
                for document in database[name].find()
            )

    def command(self, *arguments: str) -> str:
        """Run ``imserver ARGUMENTS --data DIR``; what looks into the store, on a copy that was moved out."""
        if arguments[0] != "check":
            return super().command(*arguments)
        with tempfile.TemporaryDirectory() as folder, self._copied() as store:
            copy = ServerProcess(Path(folder) / "copy")
            self._run("migrate", "--from", store, "--to", str(copy.data))
            return copy.command(*arguments)

    @contextlib.contextmanager
    def _copied(self) -> Iterator[str]:
        """Copy the database, which the nodes go on using, but for the nodes' own leases; return where to."""
        with MongoClient[Any](self._store) as client:
            database = client.get_default_database()
            name = f"{database.name}_copy"
            for collection in set(database.list_collection_names()) - {"nodes"}:
                database[collection].aggregate([{"$out": {"db": name, "coll": collection}}])
            yield self._store.replace(f"/{database.name}?", f"/{name}?")
            client.drop_database(name)

    def kill(self) -> None:
        """End every process with SIGKILL."""
        for node in self._nodes:
            if node.running:
                node.kill()

    def terminate(self) -> None:
        """Send SIGTERM to every process and return at once."""
        for node in self._nodes:
            if node.running:
                node.terminate()

    def wait_stopped(self) -> int:
        """Wait until every process has ended by itself, and return the worst exit status."""
        return max(abs(node.wait_stopped()) for node in self._nodes)
