"""Damage in the write-ahead log is told from what a crash leaves; the files are what SQLite writes."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from imserver.data.sqlite.file import load_page_checksums
from imserver.data.sqlite.wal import find_damage, index_path, keep_copy, wal_path

FRAME = 24 + 4096
HEADER = 32


class DeadStore:
    """A database and the WAL of a process that was killed, and copies of them to spoil."""

    def __init__(self, folder: Path, *, commits: int, rows_each: int = 3) -> None:
        self.path = folder / "a.db"
        self._copies = folder
        load_page_checksums()
        db = apsw.Connection(str(self.path))
        db.reserve_bytes("main", 8)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        db.execute("CREATE TABLE log (body BLOB UNIQUE)")
        for _ in range(commits):
            with db:
                db.executemany("INSERT INTO log VALUES (randomblob(?))", [(300,)] * rows_each)
        self._db = db

    def spoil(self, change: Callable[[bytearray], None], *, with_index: bool) -> Path:
        """Return a copy whose WAL was changed."""
        copy = self._copies / "copy.db"
        shutil.copyfile(self.path, copy)
        content = bytearray(wal_path(self.path).read_bytes())
        change(content)
        wal_path(copy).write_bytes(content)
        index_path(copy).unlink(missing_ok=True)
        if with_index:
            shutil.copyfile(index_path(self.path), index_path(copy))
        return copy

    def more(self, sql: str) -> None:
        self._db.execute(sql).fetchall()

    def more_rows(self, count: int) -> None:
        """Insert rows of most of a page each, with one statement."""
        self._db.execute(
            "INSERT INTO log SELECT randomblob(3000) FROM json_each(?)", (str([*range(count)]),)
        )

    @property
    def wal_bytes(self) -> int:
        return wal_path(self.path).stat().st_size

    def rows_recovered(self, copy: Path) -> int:
        db = apsw.Connection(str(copy))
        try:
            count: int = db.execute("SELECT count(*) FROM log").get
            return count
        finally:
            db.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def dead(tmp_path: Path) -> DeadStore:
    return DeadStore(tmp_path, commits=12)


def flip(place: int, bit: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        content[place] ^= 1 << bit

    return change


def nothing(_content: bytearray) -> None:
    """Leave it as it is."""


@pytest.mark.parametrize("with_index", [True, False])
def test_a_whole_log_is_not_damaged(dead, with_index):
    assert find_damage(dead.spoil(nothing, with_index=with_index)) is None


@pytest.mark.parametrize("with_index", [True, False])
def test_no_flipped_bit_goes_unseen(dead, with_index):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for _ in range(150):
        place, bit = draw.randrange(dead.wal_bytes), draw.randrange(8)
        damage = find_damage(dead.spoil(flip(place, bit), with_index=with_index))
        assert damage is not None, (place, bit)
        assert damage.frame == (0 if place < HEADER else 1 + (place - HEADER) // FRAME)
        assert damage.lost >= 1


def test_every_bit_of_the_headers_counts(dead):
    last = dead.wal_bytes - FRAME
    for place in (*range(HEADER), *range(HEADER, HEADER + 24), *range(last, last + 24)):
        for bit in range(8):
            assert find_damage(dead.spoil(flip(place, bit), with_index=False)) is not None


def test_the_report_names_the_frame_and_counts_the_commits(dead):
    commits = 12 + 1  # the table is one, too
    damage = find_damage(dead.spoil(flip(HEADER + 100, 3), with_index=False))
    assert damage is not None
    assert (damage.frame, damage.lost) == (1, commits)
    assert "frame 1 is damaged" in str(damage)
    assert f"at least {commits} commits" in str(damage)


@pytest.mark.parametrize("cut", [1, 100, FRAME - 1])
def test_a_torn_last_frame_is_what_a_crash_leaves(dead, cut):
    def tear(content: bytearray) -> None:
        del content[-cut:]

    assert find_damage(dead.spoil(tear, with_index=False)) is None


def test_a_page_that_a_power_cut_left_out_of_the_last_commit_is_no_damage(tmp_path):
    dead = DeadStore(tmp_path, commits=3)
    before = dead.wal_bytes
    dead.more_rows(20)
    assert dead.wal_bytes > before + 10 * FRAME

    def leave_out(content: bytearray) -> None:
        start = before + 4 * FRAME
        content[start : start + FRAME] = bytes(FRAME)

    copy = dead.spoil(leave_out, with_index=False)
    assert find_damage(copy) is None
    assert dead.rows_recovered(copy) == 9


def test_a_commit_whose_middle_was_written_and_whose_beginning_was_not_is_no_damage(tmp_path):
    dead = DeadStore(tmp_path, commits=3)
    before = dead.wal_bytes
    dead.more_rows(20)

    def leave_out(content: bytearray) -> None:
        content[before : before + 2 * FRAME] = random.Random(1).randbytes(2 * FRAME)

    assert find_damage(dead.spoil(leave_out, with_index=False)) is None


def test_frames_of_an_earlier_use_of_the_file_are_no_damage(dead):
    dead.more("PRAGMA wal_checkpoint(RESTART)")
    dead.more("INSERT INTO log VALUES (x'01')")
    assert find_damage(dead.spoil(nothing, with_index=True)) is None
    assert find_damage(dead.spoil(nothing, with_index=False)) is None


def test_a_commit_that_was_rolled_back_half_written_is_no_damage(dead):
    dead.more("PRAGMA cache_size = 5")
    dead.more("BEGIN")
    dead.more_rows(200)
    dead.more("ROLLBACK")
    dead.more("INSERT INTO log VALUES (x'02')")
    assert dead.wal_bytes > 60 * FRAME
    assert find_damage(dead.spoil(nothing, with_index=True)) is None


def test_commits_cut_off_after_a_kill_are_known_from_the_index(dead):
    def cut(content: bytearray) -> None:
        del content[-5 * FRAME :]

    damage = find_damage(dead.spoil(cut, with_index=True))
    assert damage is not None
    assert "had committed more" in damage.why


def test_a_log_that_was_removed_after_a_kill_is_missed(dead):
    copy = dead.spoil(nothing, with_index=True)
    wal_path(copy).unlink()
    damage = find_damage(copy)
    assert damage is not None
    assert "removed" in damage.why


def test_an_empty_log_and_none_are_no_damage(dead, tmp_path):
    assert find_damage(dead.spoil(bytearray.clear, with_index=False)) is None
    assert find_damage(tmp_path / "none.db") is None


def test_a_log_is_copied_once(dead):
    copy = keep_copy(dead.path)
    assert copy.read_bytes() == wal_path(dead.path).read_bytes()
    assert keep_copy(dead.path) == copy
    assert len(list(copy.parent.glob("*damaged*"))) == 1


def test_looking_changes_no_file(dead, tmp_path):
    copy = dead.spoil(lambda content: content.extend(content[-FRAME:]), with_index=True)
    folder = tmp_path / "alone"
    folder.mkdir()
    for path in (copy, wal_path(copy), index_path(copy)):
        shutil.copyfile(path, folder / path.name)
    before = contents(folder)
    assert find_damage(folder / copy.name) is None
    assert contents(folder) == before


def test_damage_is_found_beside_a_database_that_sqlite_cannot_read(dead):
    copy = dead.spoil(flip(HEADER + 3 * FRAME + 700, 2), with_index=True)
    copy.write_bytes(b"no database" * 1_000)
    damage = find_damage(copy)
    assert damage is not None
    assert damage.frame == 4
