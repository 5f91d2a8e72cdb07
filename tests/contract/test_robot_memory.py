"""The memories of a robot keep the contract, and the file also what only a file can break."""

import os
import random
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from client_sdk import MemoryFileError, SqliteMemory, VolatileMemory
from client_sdk.memory import Drop, Keep, KeptRecord, Owner, Place, Recollection
from tests.contract.robot_memory_contract import NOTHING, R1, RobotMemoryContract, send

ROOT = Path(__file__).parents[2]


class TestVolatileMemory(RobotMemoryContract):
    @pytest.fixture
    def make(self):
        memory = VolatileMemory()
        return lambda: memory


class TestSqliteMemory(RobotMemoryContract):
    @pytest.fixture
    def make(self, tmp_path):
        opened = []

        def make():
            opened.append(SqliteMemory(tmp_path / "r1.memory"))
            return opened[-1]

        yield make
        for memory in opened:
            memory.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "r1.memory"


def written(path, *changes):
    memory = SqliteMemory(path)
    memory.open(R1)
    memory.write(changes)
    memory.close()


def test_the_file_is_one_file_and_for_its_owner_alone(path):
    written(path, Keep(send(1)))
    assert [entry.name for entry in path.parent.iterdir()] == ["r1.memory"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def open_fails(path, match):
    with pytest.raises(MemoryFileError, match=match) as caught:
        SqliteMemory(path).open(R1)
    assert str(path) in str(caught.value)


def test_an_empty_file_is_damaged_and_not_new(path):
    path.touch()
    open_fails(path, "damaged.*empty")


def test_a_file_of_another_kind_is_refused_and_left_alone(path):
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----" * 100)
    open_fails(path, "damaged.*not a database")
    assert path.read_bytes().startswith(b"-----BEGIN")


def test_a_database_of_somebody_else_is_refused(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    open_fails(path, "no robot's memory")


def test_a_newer_form_is_refused(path):
    written(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    open_fails(path, "newer version.*update the SDK")


def test_a_file_of_the_form_before_records_is_brought_up_to_date(path):
    written(path, Keep(send(1)), Place("g/dock", "e1", 7))
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE record")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    written(path, KeptRecord("device", b"key"))
    memory = SqliteMemory(path)
    found = memory.open(R1)
    memory.close()
    assert found == Recollection(None, [send(1)], [Place("g/dock", "e1", 7)], {"device": b"key"})


def test_a_file_cut_short_is_damaged(path):
    written(path, *(Keep(send(n, body=bytes(1000))) for n in range(50)))
    os.truncate(path, path.stat().st_size // 2)
    open_fails(path, "damaged")


def test_a_flipped_bit_never_goes_unnoticed_in_what_is_read(path):
    dice = random.Random(7)
    sends = [send(n, body=dice.randbytes(200)) for n in range(40)]
    written(path, *map(Keep, sends), Place("g/dock", "e1", 5))
    whole = path.read_bytes()
    told = 0
    for _ in range(400):
        bit = dice.randrange(len(whole) * 8)
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        memory = SqliteMemory(path)
        try:
            found = memory.open(R1)
        except MemoryFileError:
            told += 1
            continue
        finally:
            memory.close()
        assert found.sends == sends
        assert found.places == [Place("g/dock", "e1", 5)]
    assert told > 100


def killed(path, commits):
    """Return the files as a kill leaves them after some commits."""
    memory = SqliteMemory(path)
    memory.open(R1)
    for n in range(commits):
        memory.write([Keep(send(n, body=bytes([n]) * 200)), Place("g/dock", "e1", n)])
    files = path.read_bytes(), path.with_name("r1.memory-wal").read_bytes()
    memory.close()
    return files


def lay(folder, files):
    """Lay files out anew, and return the memory's path."""
    folder.mkdir()
    path = folder / "r1.memory"
    path.write_bytes(files[0])
    path.with_name("r1.memory-wal").write_bytes(files[1])
    return path


def test_a_flipped_bit_in_the_log_costs_at_most_the_last_commit_or_is_told(path, tmp_path):
    dice = random.Random(11)
    data, log = killed(path, 30)
    told = 0
    for turn in range(200):
        bit = dice.randrange(len(log) * 8)
        flipped = bytearray(log)
        flipped[bit // 8] ^= 1 << bit % 8
        laid = lay(tmp_path / str(turn), (data, flipped))
        memory = SqliteMemory(laid)
        try:
            found = memory.open(R1)
        except MemoryFileError:
            with pytest.raises(MemoryFileError, match="damaged"):
                SqliteMemory(laid).open(R1)  # telling it does not mend it
            told += 1
            continue
        finally:
            memory.close()
        assert len(found.sends) >= 29
    assert told > 150


def test_a_log_cut_anywhere_is_an_ordinary_power_cut(path, tmp_path):
    dice = random.Random(12)
    data, log = killed(path, 30)
    for turn in range(60):
        cut = dice.randrange(len(log))
        memory = SqliteMemory(lay(tmp_path / str(turn), (data, log[:cut])))
        found = memory.open(R1)
        memory.close()
        assert [kept.number for kept in found.sends] == list(range(len(found.sends)))
        assert [place.seq + 1 for place in found.places] == [len(found.sends)][: len(found.places)]


def test_a_commit_torn_in_any_way_is_an_ordinary_power_cut(path, tmp_path):
    """The last commit's sectors reach the disk in any choice; the others are what was there before."""
    dice = random.Random(13)
    data, log = killed(path, 30)
    start = commit_starts(log)[-1]
    for turn in range(60):
        torn = bytearray(log)
        for sector in range(start, len(log), 512):
            if dice.random() < 0.5:
                end = min(sector + 512, len(log))
                torn[sector:end] = bytes(end - sector)
        memory = SqliteMemory(lay(tmp_path / str(turn), (data, torn)))
        found = memory.open(R1)
        memory.close()
        assert len(found.sends) in (29, 30)


def commit_starts(log):
    """Return where each commit of a log begins."""
    page = int.from_bytes(log[8:12], "big")
    frames = range(32, len(log) - page, page + 24)
    ends = [n + page + 24 for n in frames if int.from_bytes(log[n + 4 : n + 8], "big")]
    return [32, *ends[:-1]]


def test_a_folder_that_is_not_there_is_told(tmp_path):
    open_fails(tmp_path / "none" / "r1.memory", "cannot use.*No such file")


def test_another_process_is_kept_out_while_the_memory_is_held(path):
    memory = SqliteMemory(path)
    memory.open(R1)
    program = (
        "import sys; from pathlib import Path\n"
        "from client_sdk import SqliteMemory\n"
        "from client_sdk.memory import Owner\n"
        "SqliteMemory(Path(sys.argv[1])).open(Owner('r1', 'main'))\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "in use by another robot or process" in other.stderr
    memory.close()
    other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert other.returncode == 0, other.stderr


WRITER = """
import sys
from pathlib import Path
from client_sdk import SqliteMemory
from client_sdk.memory import Drop, Keep, KeptSend, Owner, Place
memory = SqliteMemory(Path(sys.argv[1]))
found = memory.open(Owner("r1", "main"))
n = max([0, *(place.seq for place in found.places)])
while True:
    n += 1
    sends = [Keep(KeptSend(3 * n + k, "g/d", f"c{3 * n + k}", "m", None, bytes(300), 0)) for k in range(3)]
    drops = [Drop(3 * (n - 1) + k) for k in range(3)]
    memory.write([*sends, *drops, Place("g/d", "e", n)])
    print(n, flush=True)
"""


def test_a_killed_process_leaves_every_finished_write_and_no_half(path):
    dice = random.Random(3)
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(dice.randrange(1, 40)):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        told = writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        memory = SqliteMemory(path)
        found = memory.open(R1)
        memory.close()
        (place,) = found.places
        assert place.seq >= int(told[-1] if told else 0)
        assert [kept.number for kept in found.sends] == [3 * place.seq + k for k in range(3)]


def test_a_full_disk_is_told_and_what_was_kept_stays(path):
    """A limit on the size of files stands for the full disk."""
    memory = SqliteMemory(path)
    memory.open(R1)
    memory.write([Keep(send(1))])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 8192, before[1]))
        with pytest.raises(MemoryFileError, match="cannot use"):
            memory.write([Keep(send(2, body=bytes(500_000)))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    with pytest.raises(MemoryFileError, match="closed"):
        memory.write([Drop(1)])
    again = SqliteMemory(path)
    assert again.open(R1).sends == [send(1)]
    again.close()


def test_two_that_make_the_file_at_once_agree_on_one(path):
    """The slower one finds the file in its place, and uses it."""
    first, second = SqliteMemory(path), SqliteMemory(path)
    first._create(R1)
    second._create(Owner("r2", "main"))
    assert first.open(R1) == NOTHING
    first.close()
