"""Histories on disk: what is read back, what a death may leave behind, and what makes one unusable."""

import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from msgspec import structs

from imserver.verify import records
from imserver.verify.history import (
    LINE_BYTES_MAX,
    HistoryReader,
    HistoryUnusable,
    HistoryWriter,
    history_files,
)
from imserver.verify.records import Position
from imserver.verify.verifier import verify

SHA = "a" * 64
ME: dict[str, Any] = {"client": "r1", "session": "s1"}
OPEN = records.SessionOpen(t=1.0, **ME)
INVOKE = records.Send(t=2.0, **ME, type="invoke", conv="g/a", cid="1", body_sha=SHA)
OK = records.Send(t=3.0, **ME, type="ok", conv="g/a", cid="1", epoch="e", seq=1)
CLOSE = records.SessionClose(t=4.0, **ME)

EACH = [
    records.SessionOpen(
        t=0.25, **ME, device="d", clock="c", auto=False, resume={"g/a": Position("e", 3)}
    ),
    records.SessionClose(t=1.5, **ME, drained=True, note={"any": ["thing", None]}),
    INVOKE,
    structs.replace(OK, connection="tcp-1", dup=True),
    records.Change(t=1.0, **ME, type="fail", conv="g/a", kind="role_changed", code="forbidden"),
    records.Join(t=1.0, **ME, type="ok", conv="g/a", seq=7),
    records.Leave(t=1.0, **ME, type="unknown", conv="g/a"),
    records.Receive(
        t=1.0, **ME, conv="g/a", epoch="e", seq=1, sender="r2", cid="x", kind="k", body_sha=SHA
    ),
    records.Read(
        t=1.0, **ME, conv="g/a", seq=1, sender="r2", cid="x", kind="k", ref=1, body_sha=SHA
    ),
    records.Gap(t=1.0, **ME, conv="g/a", epoch="e", from_=3, to=4, why="retention"),
    records.Ack(t=1.0, **ME, conv="g/a", seq=0),
    records.Follow(t=1.0, **ME, conv="g/a", after=0),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "r1.jsonl"


def write(path, *items, **options):
    with HistoryWriter(path, **options) as writer:
        for item in items:
            writer.write(item)


def read(path):
    return [record for _, record in HistoryReader(path)]


def test_every_kind_of_record_is_read_back_as_it_was_written(path):
    write(path, *EACH)
    assert read(path) == EACH
    assert {type(record) for record in EACH} == set(records.Record.__args__)


def test_a_writer_appends_to_what_is_there(path):
    write(path, OPEN)
    write(path, CLOSE)
    assert read(path) == [OPEN, CLOSE]


def test_a_record_is_in_the_file_at_once_if_each_is_flushed(path):
    writer = HistoryWriter(path, flush_each=True)
    writer.write(OPEN)
    assert read(path) == [OPEN]
    writer.close()


def test_a_buffered_record_is_in_the_file_after_a_flush(path):
    writer = HistoryWriter(path)
    writer.write(OPEN)
    assert path.read_bytes() == b""
    writer.flush()
    assert read(path) == [OPEN]
    writer.close()


def test_a_killed_process_leaves_every_record_it_wrote(path):
    program = (
        "import sys; from imserver.verify import records; "
        "from imserver.verify.history import HistoryWriter; "
        "w = HistoryWriter(sys.argv[1], flush_each=True); "
        "w.write(records.SessionOpen(t=1.0, client='r1', session='s1')); "
        "print('written', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert read(path) == [OPEN]


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_torn_last_line_is_left_out_and_told(path, cut):
    write(path, OPEN, INVOKE, OK)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    reader = HistoryReader(path)
    found = [record for _, record in reader]
    complete = cut == 1  # nothing but the line's end is missing
    assert found == ([OPEN, INVOKE, OK] if complete else [OPEN, INVOKE])
    assert reader.torn_line == (None if complete else 3)


def test_a_writer_cuts_the_torn_line_of_an_earlier_one_off(path):
    write(path, OPEN, INVOKE)
    path.write_bytes(path.read_bytes()[:-9])
    write(path, CLOSE)
    assert read(path) == [OPEN, CLOSE]


def test_a_file_that_is_one_torn_line_is_empty_for_its_next_writer(path):
    path.write_bytes(b'{"op":"session_op')
    write(path, OPEN)
    assert read(path) == [OPEN]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"\n", "no record"),
        (b"{}\n", "missing required field `op`"),
        (b'{"op":"sent","t":1,"client":"r1","session":"s"}\n', "sent"),
        (b'{"op":"session_open","client":"r1","session":"s"}\n', "missing required field `t`"),
        (b'{"op":"session_open","t":1,"client":"","session":"s"}\n', "length >= 1"),
        (b'{"op":"session_open","t":1,"client":"r","session":"s","x":1}\n', "unknown field `x`"),
        (b'{"op":"follow","t":1,"client":"r","session":"s","conv":"g/a","after":-1}\n', "after"),
        (
            b'{"op":"send","t":1,"client":"r","session":"s","type":"invoke","conv":"g","cid":"1"}\n',
            "needs `body_sha`",
        ),
        (
            b'{"op":"send","t":1,"client":"r","session":"s","type":"ok","conv":"g","cid":"1"}\n',
            "needs `seq`",
        ),
        (
            b'{"op":"join","t":1,"client":"r","session":"s","type":"ok","conv":"g"}\n',
            "needs `seq`",
        ),
        (b"\xff\xfe\n", "no record"),
        (b"x" * (LINE_BYTES_MAX + 1) + b"\n", "no record"),
    ],
)
def test_damage_before_the_end_names_file_line_and_what_is_wrong(path, line, says):
    write(path, OPEN)
    with path.open("ab") as file:
        file.write(line)
    write(path, CLOSE)
    with pytest.raises(HistoryUnusable, match=f"{path}:2") as error:
        read(path)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([INVOKE], "no session_open before it"),
        ([OPEN, CLOSE, structs.replace(INVOKE, t=9.0)], "was closed"),
        ([OPEN, OPEN], "a second time"),
        ([OPEN, OK, INVOKE], "take t from a monotonic clock"),
        ([], "nothing to judge"),
        ([OPEN, CLOSE], "nothing to judge"),
    ],
)
def test_records_that_do_not_fit_together_are_unusable(path, items, says):
    write(path, *items)
    with pytest.raises(HistoryUnusable, match=says):
        verify([path])


def test_a_session_is_opened_once_over_all_files(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jsonl", OPEN, INVOKE)
    with pytest.raises(HistoryUnusable, match=r"b\.jsonl:1 opens session 's1'"):
        verify([tmp_path])


def test_a_torn_line_is_told_in_the_report(path):
    write(path, OPEN, INVOKE, OK)
    path.write_bytes(path.read_bytes()[:-9])
    report = verify([path])
    assert report.records == 2
    assert any(f"{path}:3" in note for note in report.notes)


def test_a_directory_stands_for_its_histories(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "other.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in history_files([tmp_path])] == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize("missing", ["nothing.jsonl", "empty"])
def test_a_history_that_is_not_there_is_unusable(tmp_path, missing):
    (tmp_path / "empty").mkdir()
    with pytest.raises(HistoryUnusable, match=missing):
        history_files([tmp_path / missing])
