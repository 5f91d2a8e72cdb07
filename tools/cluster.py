"""A whole deployment on this machine, to look at: ``make cluster``.

usage: python -m tools.cluster [--listen HOST:PORT] [--robots N] [--seconds S]

Three MongoDB servers (a replica set), a Redis, the three nodes of docker/compose.yaml with the very commands
that stand there, a load balancer before them, and the demo's robots, which come in through it. Everything is
on loopback and in a temporary folder; Ctrl-C ends it and leaves nothing behind. The MongoDB comes with a
Python package that is for development and tests alone.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from tests.mongo_server import PROMPT, PROMPT_PARAMETERS, MongoSet
from tests.ports import free_port
from tests.redis_server import redis_process
from tools import compose

READY_S: Final = 30.0
STOP_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.05


class NotReady(Exception):
    """A part of the cluster did not start; the text is what it said."""


class Part:
    """A program of the cluster, in a session of its own: Ctrl-C is not for it."""

    def __init__(self, service: compose.Service, log: Path) -> None:
        self.log = log
        self.service = service
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process, which was started."""
        assert self._process is not None, "start it first"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and do not wait until it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.service.command,
                env={**os.environ, **self.service.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def terminate(self) -> None:
        """Have it end in good order, and do not wait for it."""
        assert self._process is not None, "start it first"
        self._process.terminate()

    def stop(self) -> int:
        """Have it end in good order; return its exit status."""
        assert self._process is not None, "start it first"
        self._process.terminate()
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def wait_ready(self, url: str) -> None:
        """Return when it says that it is ready.

        Raises:
            NotReady: it ended, or took too long.
        """
        deadline_s = time.monotonic() + READY_S
        while not _is_ready(url):
            if not self.is_running or time.monotonic() > deadline_s:
                raise NotReady(self.log.read_text(errors="replace")[-2_000:])
            time.sleep(_LOOK_EVERY_S)


class Node(Part):
    """A node."""

    def __init__(self, name: str, service: compose.Service, folder: Path, port: int) -> None:
        super().__init__(service, folder / f"{name}.log")
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def restart(self) -> None:
        """Start it again, and return when it is ready."""
        self.start()
        self.wait_ready(self.url)


class Cluster:
    """Nodes, and a balancer before them.

    Args:
        store, route: URLs of the MongoDB and the Redis that they share.
        listen: where the balancer listens.

    Attributes:
        data: the directory that the nodes share; in it is the deployment's key.
        url: where robots connect.
    """

    def __init__(self, folder: Path, *, store: str, route: str, listen: str) -> None:
        self.data = folder / "data"
        self.url = f"http://{listen}"
        common = {compose.STORE: store, compose.ROUTE: route, compose.DATA: str(self.data)}
        self.nodes: list[Node] = []
        for name, service in compose.nodes().items():
            port, tcp = free_port(), free_port()
            own = {compose.LISTEN: f"127.0.0.1:{port}", compose.TCP: f"127.0.0.1:{tcp}"}
            placed = service.at({**common, **own})
            here = [sys.executable, "-m", "imserver", *placed.command[1:]]
            self.nodes.append(Node(name, placed._replace(command=here), folder, port))
        command = [sys.executable, "-m", "tools.balancer", "--listen", listen]
        for node in self.nodes:
            command += ["--node", f"127.0.0.1:{node.port}"]
        self.balancer = Part(compose.Service(command, {}), folder / "balancer.log")

    def start(self) -> None:
        """Start everything.

        Raises:
            NotReady: a part did not start.
        """
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready(node.url)
        self.balancer.start()
        self.balancer.wait_ready(self.url)

    def stop(self) -> None:
        """End everything, in good order where that works."""
        self.balancer.kill()
        running = [node for node in self.nodes if node.is_running]
        for node in running:
            node.terminate()
        for node in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.stop()


@contextlib.contextmanager
def cluster(*, listen: str, members: int = 3, mongo: MongoSet | None = None) -> Iterator[Cluster]:
    """Run a cluster for a while, on a MongoDB of its own unless one is given, and leave nothing behind."""
    folder = Path(tempfile.mkdtemp(prefix="imserver-cluster-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if mongo is None:
            mongo = MongoSet(members, settings=PROMPT, parameters=PROMPT_PARAMETERS)
            stack.callback(mongo.stop)
            mongo.start()
        redis = stack.enter_context(redis_process())
        made = Cluster(folder, store=mongo.url(), route=redis.url, listen=listen)
        stack.callback(made.stop)
        made.start()
        yield made


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _demo(made: Cluster, *, robots: int, seconds: float | None) -> int:
    """Run the demo's robots, until they end or somebody ends us; return their exit status."""
    command = [sys.executable, "-m", "imserver", "demo", "--url", made.url]
    command += ["--data", str(made.data), "--robots", str(robots)]
    if seconds is not None:
        command += ["--seconds", str(seconds)]
    demo = subprocess.Popen(command, start_new_session=True)
    try:
        return demo.wait()
    except KeyboardInterrupt:
        demo.send_signal(signal.SIGINT)
        demo.wait()
        return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Read the command line, and run a cluster with the demo's robots."""
    parser = argparse.ArgumentParser(prog="python -m tools.cluster")
    parser.add_argument("--listen", default="127.0.0.1:7400", metavar="HOST:PORT")
    parser.add_argument("--robots", type=int, default=6)
    parser.add_argument("--seconds", type=float)
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    print("starting three MongoDB servers, a Redis, three nodes and a load balancer …", flush=True)
    try:
        with cluster(listen=given.listen) as made:
            for node in made.nodes:
                print(f"{node.name} at {node.url}, process {node.pid}, log {node.log}", flush=True)
            command = f"imserver nodes --url {made.url} --data {made.data}"
            print(f"the nodes are listed by: {command}", flush=True)
            try:
                return _demo(made, robots=given.robots, seconds=given.seconds)
            finally:  # the end is not to be broken off
                signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        return 0
    except NotReady as exc:
        print(f"cluster: a part did not start: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
