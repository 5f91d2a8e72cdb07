"""The short form of `make files`."""

import random
from pathlib import Path

import pytest

from tests.e2e.conftest import StartServer, deployment, start_server
from tests.files.long_upload import MIB, long_upload

__all__ = ["deployment", "start_server"]

pytestmark = pytest.mark.process


async def test_a_long_upload_is_cut_resumed_and_takes_little_memory(
    start_server: StartServer, tmp_path: Path, rng: random.Random
):
    seen = await long_upload(start_server(), tmp_path, size=24 * MIB, cuts=6, dice=rng)
    assert seen.is_good, str(seen)
