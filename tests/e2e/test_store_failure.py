"""A server whose store has failed for good ends, whoever came upon it."""

import asyncio
import contextlib
import resource

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.exceptions import ConnectionClosed

from examples.wire_client import Refused
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet

pytestmark = pytest.mark.one_node(reason="it breaks the files of the embedded store")

FILE_BYTES_MAX = 32 * 1024


async def test_a_server_ends_when_its_files_cannot_grow_although_nobody_sends(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    newcomer = await own_fleet.stranger()
    token = server.enroll("newcomer")
    limits = (FILE_BYTES_MAX, resource.RLIM_INFINITY)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)
    # The write fails, or it is copied into the database and that fails.
    with contextlib.suppress(ConnectionClosed, Refused):
        await newcomer.register("newcomer", token=token, key=Ed25519PrivateKey.generate())
    assert await asyncio.to_thread(server.wait_stopped) != 0
    server.start()
    again = await own_fleet.online("r1")
    assert again.welcome["t"] == "welcome"
