"""Ports for servers that have to be told theirs, or keep theirs from one start to the next."""

import itertools
import os
import socket
from typing import Final

_FIRST: Final = 10_000
_SLICES: Final = 32
_SLICE: Final = 700
"""All below 32,768, from where on systems choose for connections, and for servers that leave it to them."""

_taken = itertools.count(os.getpid())


def free_port() -> int:
    """Return a port that nobody has now, and nobody is likely to take before a server is started there.

    A port that the system chooses may be chosen again while its server is down. These the system leaves
    alone; a process comes back to one when it has had all of its slice, and the processes of a run have
    slices of their own.
    """
    begin = _FIRST + _slice() * _SLICE
    for number in itertools.islice(_taken, _SLICE):
        port = begin + number % _SLICE
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise OSError(f"no port is free from {begin} on")


def _slice() -> int:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    half = _SLICES // 2
    return int(worker) % half if worker.isdigit() else half + os.getpid() % half
