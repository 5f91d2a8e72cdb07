import os
import subprocess
import sys

import pytest

from imserver.data.sqlite.file import open_for_writing
from imserver.data.sqlite.wal_index import INDEX_BYTES

FIRST_TO_COME = """
import fcntl, sys
file = open(sys.argv[1], "rb+")
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
"""
"""Takes the lock by which a process knows that it is the first to open the index, and may empty it."""


@pytest.fixture
def writer(tmp_path):
    db = open_for_writing(tmp_path / "im.db", "full", statements=10)
    yield db
    db.close()


def test_the_space_of_the_index_is_taken_when_the_store_is_opened(writer, tmp_path):
    index = (tmp_path / "im.db-shm").stat()
    assert index.st_blocks * 512 >= INDEX_BYTES


def test_no_other_process_takes_itself_for_the_first(writer, tmp_path):
    command = [sys.executable, "-c", FIRST_TO_COME, str(tmp_path / "im.db-shm")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "BlockingIOError" in done.stderr


def test_closing_leaves_no_descriptor(tmp_path):
    db = open_for_writing(tmp_path / "im.db", "full", statements=10)
    descriptor = db._index
    db.close()
    assert db._index == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
