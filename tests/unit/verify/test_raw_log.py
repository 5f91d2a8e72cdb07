"""The raw log: from a store's file as the server left it, and from lines of JSON."""

import msgspec
import pytest

from imserver.core.membership_changes import body_of
from imserver.core.model import Added, Append, Created, Cursor, Removed, RobotRecord
from imserver.data.directory import DATABASE_NAME
from imserver.data.sqlite.store import SqliteStore
from imserver.protocol.events import Role
from imserver.protocol.names import RobotName
from imserver.verify.body_hash import body_sha
from imserver.verify.history import HistoryUnusable
from imserver.verify.logs import FOREVER, content_of
from imserver.verify.raw_log import read_data_directory, read_log_file


def append(cid, *, conv="g/a", kind="message", body=None, change=None, sender="r1"):
    encoded = body_of(change) if change is not None else msgspec.msgpack.encode(body)
    return Append(conv, 1, sender, cid, kind, encoded, None, change)


R1, R2, R3 = RobotName("r1"), RobotName("r2"), RobotName("r3")
EVENTS = [
    append("@1", kind="group_created", change=Created({R1: Role.OWNER}, False)),
    append("@2", kind="members_added", change=Added((R2, R3), Role.MEMBER)),
    append("a", body={"n": 1}),
    append("b", body=b"\x00\x01", sender="r2"),
    append("@3", kind="members_removed", change=Removed((R2,))),
    append("@4", kind="members_added", change=Added((R2,), Role.MEMBER)),
    append("c", conv="d/r1/r2", body=7),
]


@pytest.fixture
async def data(tmp_path):
    """A data directory whose server was stopped."""
    store = await SqliteStore.open(tmp_path / DATABASE_NAME)
    for name in ("r1", "r2", "r3"):
        await store.ensure_robot(RobotRecord(name, None, 1))
    await store.append(EVENTS)
    await store.move_cursors([Cursor("r2", "main", "g/a", 4)])
    await store.aclose()
    return tmp_path


@pytest.fixture
def lines(tmp_path):
    """Write events to a file as ``imserver tail --json`` does, and read it."""

    def read(*events):
        path = tmp_path / "log.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
        return read_log_file(path)

    return read


def line(seq, **more):
    names = {"conv": "g/a", "epoch": "e", "seq": seq, "ts": 1, "sender": "r1", "cid": f"c{seq}"}
    return {**names, "kind": "message", "ref": None, "body": seq, **more}


def test_a_store_gives_its_events_by_place(data):
    log = next(log for log in read_data_directory(data).raw() if log.conv == "g/a")
    assert sorted(log.entries) == [1, 2, 3, 4, 5, 6]
    entry = log.entries[4]
    assert (entry.sender, entry.cid) == ("r2", "b")
    assert entry.content == content_of("message", None, body_sha(b"\x00\x01"))


def test_a_store_tells_who_was_a_member_when(data):
    log = next(log for log in read_data_directory(data).raw() if log.conv == "g/a")
    assert log.members == {
        "r1": [(1, FOREVER)],
        "r2": [(2, 5), (6, FOREVER)],
        "r3": [(2, FOREVER)],
    }


def test_the_members_of_a_direct_line_are_its_two_robots(data):
    log = next(log for log in read_data_directory(data).raw() if log.conv == "d/r1/r2")
    assert log.members == {"r1": [(1, FOREVER)], "r2": [(1, FOREVER)]}


def test_a_store_tells_its_cursors(data):
    assert read_data_directory(data).cursors == {("r2", "main", "g/a"): 4}


def test_reading_a_store_changes_nothing_in_its_directory(data):
    before = {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}
    read_data_directory(data)
    after = {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}
    assert {name: after[name] for name in (DATABASE_NAME,)} == {
        DATABASE_NAME: before[DATABASE_NAME]
    }


def test_a_directory_without_a_store_is_unusable(tmp_path):
    with pytest.raises(HistoryUnusable, match="there is no store in"):
        read_data_directory(tmp_path)


def test_a_file_that_is_no_store_is_unusable(tmp_path):
    (tmp_path / DATABASE_NAME).write_bytes(
        b"this is not a database, but longer than its header" * 9
    )
    with pytest.raises(HistoryUnusable, match="cannot be read"):
        read_data_directory(tmp_path)


def test_a_file_of_events_gives_the_same_as_the_store(lines):
    body = {"members": {"r1": "owner", "r2": "member"}, "open": False}
    made = line(1, kind="group_created", cid="@1", body=body)
    (log,) = lines(made, line(2, body={"b": 1, "a": 2.0})).raw()
    assert log.epoch == "e"
    assert log.entries[2].content == content_of("message", None, body_sha({"a": 2, "b": 1}))
    assert log.members == {"r1": [(1, FOREVER)], "r2": [(1, FOREVER)]}


def test_a_file_of_events_may_hold_hashes_instead_of_bodies(lines):
    event = line(1, body_sha=body_sha("x"))
    del event["body"]
    (log,) = lines(event).raw()
    assert log.entries[1].content == content_of("message", None, body_sha("x"))


def test_members_are_unknown_where_a_change_has_only_its_hash(lines):
    event = line(1, kind="group_created", body_sha="0" * 64)
    del event["body"]
    (log,) = lines(event).raw()
    assert log.members is None


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([{"conv": "g/a"}], "log.jsonl:1 is no event"),
        ([line(1), line(0)], "log.jsonl:2 is no event"),
        ([line(1), line(2, epoch="f")], "a log has one epoch"),
        ([line(1, kind="members_added", body={"robots": 1})], "members_added at g/a 1"),
        ([{k: v for k, v in line(1).items() if k != "body"}], "needs `body` or `body_sha`"),
    ],
)
def test_a_line_that_is_no_event_is_unusable(lines, events, says):
    with pytest.raises(HistoryUnusable, match=says):
        lines(*events)


def test_a_log_file_that_is_not_there_is_unusable(tmp_path):
    with pytest.raises(HistoryUnusable, match="cannot be read"):
        read_log_file(tmp_path / "none.jsonl")
