"""A real server in its own process, for tests from outside."""

import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from imserver.core import tokens
from imserver.data.directory import DataDirectory
from tests.certificates import Certificates
from tests.place import LOOPBACK
from tests.ports import free_port

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
HOUR_MS = 3_600_000
_READY = re.compile(r"^ready https?://[\d.]+:(\d+)$")
_READY_TCP = re.compile(r"^ready tcps?://[\d.]+:(\d+)$")
_TRACEBACK = re.compile(
    r"^(Traceback \(most recent call last\)|.*(Task|Future) exception was never)"
)


class ServerProcess:
    """One server on one data directory; ``restart`` keeps the directory and the port.

    Attributes:
        minted: every token that was made for it.
    """

    def __init__(
        self,
        data: Path,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        tls: Certificates | None = None,
        host: str = LOOPBACK.host,
    ) -> None:
        self.data = data
        self.host = host
        self._port = 0
        self._tcp_port = 0
        self.start_timeout_s = START_TIMEOUT_S
        self.stderr_path = data.with_name(f"{data.name}-stderr.txt")
        self.tls = tls
        self._arguments = (*arguments, *(tls.arguments if tls is not None else ()))
        self._prefix = tuple(prefix)
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self._output = _Output()
        self.minted: list[str] = []

    @property
    def nodes(self) -> tuple["ServerProcess", ...]:
        """The processes of the deployment: this one, which is all of it."""
        return (self,)

    @property
    def port(self) -> int:
        """Where HTTP and WebSockets are served, from one start to the next; zero before the first."""
        return self._port

    def listen_again_at(self, port: int) -> None:
        """Serve at a port that another process has left."""
        self._port = port

    @property
    def url(self) -> str:
        """Where HTTP is served."""
        return f"{'http' if self.tls is None else 'https'}://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where WebSockets are served."""
        return f"{'ws' if self.tls is None else 'wss'}://{self.host}:{self.port}"

    @property
    def tcp_url(self) -> str:
        """Where raw TCP is taken, if the arguments ask for it."""
        return f"{'tcp' if self.tls is None else 'tcps'}://127.0.0.1:{self.tcp_port}"

    @property
    def tcp_port(self) -> int:
        """Where raw TCP is taken, if the arguments ask for it."""
        if not self._tcp_port:
            self._tcp_port = self._output.wait_tcp(START_TIMEOUT_S)
        return self._tcp_port

    @property
    def pid(self) -> int:
        """The process, which is running."""
        assert self._process is not None, "the server was not started"
        assert self._process.poll() is None, f"the server ended with {self._process.returncode}"
        return self._process.pid

    @property
    def pid_if_running(self) -> int | None:
        """The process, if it has not ended; it may at any moment, so ask once and not twice."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the process and return once it says that it is ready."""
        self._port = self._port or free_port()
        command = [*self._prefix, sys.executable, "-m", "imserver", "serve", *self._arguments]
        command += ["--listen", f"{self.host}:{self._port}", "--data", str(self.data)]
        if self._tcp_port:
            command += ["--tcp", f"127.0.0.1:{self._tcp_port}"]
        with self.stderr_path.open("a") as stderr:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=self._environment
            )
        assert self._process.stdout is not None
        self._output = _Output()
        self._output.follow(self._process.stdout)
        port = self._output.wait_ready(self.start_timeout_s)
        if port is None:
            self._process.kill()
            self._wait()
            raise AssertionError(f"not ready; it wrote: {self._output.lines} {self.stderr()}")
        self._port = port

    def stdout(self) -> list[str]:
        """Return the lines that the running process wrote to standard output."""
        return list(self._output.lines)

    def stderr(self) -> str:
        """Return what all processes on this directory wrote to standard error."""
        return self.stderr_path.read_text() if self.stderr_path.exists() else ""

    def tracebacks(self) -> list[str]:
        """Return the lines of standard error that tell of an unhandled error."""
        return [line for line in self.stderr().splitlines() if _TRACEBACK.match(line)]

    def kill(self) -> None:
        """End the process with SIGKILL: it gets no chance to finish anything."""
        os.kill(self.pid, signal.SIGKILL)
        self._wait()

    def restart(self) -> None:
        """Start again on the same directory and port, ending the process first if it runs."""
        if self.running:
            self.kill()
        self.start()

    def stop(self) -> int:
        """End the process with SIGTERM and return its exit status."""
        self.terminate()
        return self.wait_stopped()

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        os.kill(self.pid, signal.SIGTERM)

    def wait_stopped(self) -> int:
        """Wait until the process has ended by itself, and return its exit status."""
        return self._wait()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.pid_if_running is not None

    def rss(self) -> int:
        """Return the memory that the process holds, in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """Return how many files and sockets the process has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def stored(self) -> bytes:
        """Return everything that the deployment has stored, one after the other."""
        return b"".join(path.read_bytes() for path in self.data.rglob("*") if path.is_file())

    def enroll(self, robot: str, groups: Iterable[str] = (), *, ttl_ms: int = HOUR_MS) -> str:
        """Return an enrolment token as ``imserver enroll`` would print it, without its half second."""
        issued_ms = time.time_ns() // 1_000_000 - (HOUR_MS if ttl_ms < 0 else 0)
        lifetime_ms = HOUR_MS + ttl_ms if ttl_ms < 0 else ttl_ms
        claims = tokens.enrolment(
            robot,
            token_id=secrets.token_hex(16),
            now_ms=issued_ms,
            ttl_ms=lifetime_ms,
            groups=groups,
        )
        return self._minted(claims)

    def token(
        self,
        robot: str,
        *,
        admin: bool = False,
        expired: bool = False,
        scopes: Sequence[str] = (),
    ) -> str:
        """Return a bearer token as ``imserver token`` would print it."""
        issued_ms = time.time_ns() // 1_000_000 - (2 * HOUR_MS if expired else 0)
        claims = tokens.bearer(
            robot,
            token_id=secrets.token_hex(16),
            now_ms=issued_ms,
            ttl_ms=HOUR_MS,
            scopes=scopes or ["admin" if admin else "*"],
        )
        return self._minted(claims)

    def _minted(self, claims: tokens.Claims) -> str:
        self.minted.append(self._authority().mint(claims))
        return self.minted[-1]

    def command(self, *arguments: str) -> str:
        """Run ``imserver ARGUMENTS --data DIR`` and return its standard output."""
        return self._run(*arguments, "--data", str(self.data))

    @staticmethod
    def _run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "imserver", *arguments],
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _authority(self) -> tokens.TokenAuthority:
        return tokens.TokenAuthority(DataDirectory(self.data).signing_key())

    def _wait(self) -> int:
        assert self._process is not None
        status = self._process.wait(STOP_TIMEOUT_S)
        self._output.join()
        return status


class _Output:
    """Reads a process's standard output, so that it never waits for us, and sees the ready line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._port: int | None = None
        self._tcp_port: int | None = None
        self._settled = threading.Event()
        self._tcp_settled = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, stream: IO[str]) -> None:
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> int | None:
        self._settled.wait(timeout_s)
        return self._port

    def wait_tcp(self, timeout_s: float) -> int:
        self._tcp_settled.wait(timeout_s)
        assert self._tcp_port is not None, f"no TCP port in {self.lines}"
        return self._tcp_port

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))
                ready = _READY.match(self.lines[-1])
                if ready:
                    self._port = int(ready[1])
                    self._settled.set()
                elif tcp := _READY_TCP.match(self.lines[-1]):
                    self._tcp_port = int(tcp[1])
                    self._tcp_settled.set()
        self._settled.set()
        self._tcp_settled.set()
