"""Ports for servers that have to be told theirs, or keep theirs from one start to the next."""

import fcntl
import itertools
import os
import socket
import tempfile
from pathlib import Path
from typing import Final

_FIRST: Final = 10_000
_SLICES: Final = 32
_SLICE: Final = 700
"""All below 32,768, from where on systems choose for connections, and for servers that leave it to them."""

_taken = itertools.count(os.getpid())
_locks = os.open(
    Path(tempfile.gettempdir(), f"imserver-ports-{os.getuid()}"), os.O_RDWR | os.O_CREAT, 0o600
)
"""A byte for each port, which the process locks that has taken it, as long as it lives."""


def free_port() -> int:
    """Return a port that nobody has now, and nobody is likely to take before a server is started there.

    A port that the system chooses may be chosen again while its server is down. These the system leaves
    alone; a process comes back to one when it has had all of its slice, the processes of a run have slices
    of their own, and of several runs on a machine none takes what another one has taken.
    """
    begin = _FIRST + _slice() * _SLICE
    for number in itertools.islice(_taken, _SLICE):
        port = begin + number % _SLICE
        try:
            fcntl.lockf(_locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise OSError(f"no port is free from {begin} on")


def _slice() -> int:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    half = _SLICES // 2
    return int(worker) % half if worker.isdigit() else half + os.getpid() % half
