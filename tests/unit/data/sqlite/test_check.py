"""``check`` finds what must not be in a store, and nothing in a sound one."""

from pathlib import Path

import apsw
import pytest
from msgspec import structs

from imserver.core.errors import StoreCorrupt, StoreUnavailable
from imserver.data.findings import RULES, Finding
from imserver.data.sqlite.check import check
from imserver.data.sqlite.rows import pack, unpack
from imserver.data.sqlite.store import SqliteStore
from tests.contract.records import (
    DOCK,
    LINE,
    R2,
    YARD,
    created,
    cursor,
    deleted,
    event,
    events,
    robot,
)

KEY = "(SELECT id << 38 FROM conversations WHERE name = 'g/dock')"
STRAY_EVENT = f"""
    INSERT INTO events (key, sender, cid, body_bytes, packed)
    SELECT 99 << 38 | 1, sender, cid, body_bytes, packed FROM events WHERE key = {KEY} + 1
"""


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A sound store: a group of 21 events, an ended group, a direct line, cursors and robots."""
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path)
    for name in ("r1", "r2"):
        await store.ensure_robot(robot(name))
    await store.append([created(DOCK, members=["r2"]), created(YARD), deleted("end", YARD)])
    await store.append(events(20))
    await store.append([event("m", LINE), event("answer", LINE, ref=1)])
    await store.move_cursors([cursor(21), cursor(5, robot=R2), cursor(2, LINE)])
    await store.aclose()
    return path


def spoil(path: Path, sql: str) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql)
    db.close()


def test_a_sound_store_has_no_findings(path):
    report = check(path)
    assert report.findings == ()
    assert (report.conversations, report.events) == (3, 25)


@pytest.mark.parametrize(
    ("sql", "rule", "count", "witness"),
    [
        (f"DELETE FROM events WHERE key = {KEY} + 7", "gap", 1, "g/dock: 6 is followed by 8"),
        (f"DELETE FROM events WHERE key = {KEY} + 1", "gap", 1, "g/dock: 0 is followed by 2"),
        *(
            (f"UPDATE events SET {change} WHERE key = {KEY} + 9", "mismatched_row", 1, "g/dock: 9")
            for change in (
                "sender = 'r2'",
                "cid = 'other'",
                "amends = 3",
                "sealed = 3",
                "body_bytes = body_bytes + 1",
                "packed = substr(packed, 2)",
                "packed = (SELECT packed FROM events WHERE cid = 'c1')",
            )
        ),
        (
            STRAY_EVENT,
            "event_without_conversation",
            1,
            f"event {99 << 38 | 1}",
        ),
        (
            "INSERT INTO conversations VALUES (9, 'g/empty', 'e', 0, 0, 1, 1, NULL)",
            "conversation_without_events",
            1,
            "g/empty",
        ),
        (
            "UPDATE cursors SET seq = 22 WHERE seq = 21",
            "cursor_beyond_head",
            1,
            "g/dock: r1/main is at 22, the head at 21",
        ),
        (
            "INSERT INTO cursors VALUES (9, 'r1', 'main', 1)",
            "cursor_beyond_head",
            1,
            "conversation 9: r1/main is at 1, the head at 0",
        ),
        (
            "UPDATE conversations SET deleted = 1 WHERE name = 'g/dock'",
            "member_of_ended_group",
            2,
            "g/dock: r1",
        ),
        ("DELETE FROM robots WHERE name = 'r2'", "unregistered_member", 2, "g/dock: r2"),
    ],
)
def test_what_must_not_be_is_found(path, sql, rule, count, witness):
    spoil(path, sql)
    [finding] = check(path).findings
    assert finding == Finding(rule, RULES[rule], count, finding.witnesses)
    assert witness in finding.witnesses
    assert len(finding.witnesses) == min(count, 5)


@pytest.mark.parametrize("ref", [0, 9, 99])
def test_an_event_that_refers_to_none_before_it_is_found(path, ref):
    db = apsw.Connection(str(path))
    [(key, packed)] = db.execute(f"SELECT key, packed FROM events WHERE key = {KEY} + 9").fetchall()
    referring = pack(structs.replace(unpack(packed), ref=ref))
    db.execute("UPDATE events SET packed = ? WHERE key = ?", (referring, key))
    db.close()
    [finding] = check(path).findings
    witness = f"g/dock: 9 refers to {ref}"
    assert (finding.rule, finding.count, finding.witnesses) == ("dangling_ref", 1, (witness,))


async def test_a_trimmed_log_has_no_gap(path):
    store = await SqliteStore.open(path)
    await store.trim(DOCK, 9, limit=100)
    await store.aclose()
    assert check(path).findings == ()


async def test_events_below_or_above_the_floor_that_must_not_or_must_be_there_are_a_gap(path):
    spoil(path, "UPDATE conversations SET floor = 4 WHERE name = 'g/dock'")
    [finding] = check(path).findings
    assert (finding.rule, finding.witnesses) == ("gap", ("g/dock: 3 is followed by 1",))
    spoil(path, f"DELETE FROM events WHERE key BETWEEN {KEY} + 1 AND {KEY} + 5")
    [finding] = check(path).findings
    assert (finding.rule, finding.witnesses) == ("gap", ("g/dock: 3 is followed by 6",))


def test_a_cid_that_stands_twice_is_found(path):
    # The unique index forbids it, so it takes the place of one that does not.
    spoil(
        path,
        "DROP INDEX events_by_cid; CREATE INDEX events_by_cid ON events (cid, sender, conv);"
        "UPDATE events SET cid = 'c1' WHERE cid IN ('c2', 'c3')",
    )
    finding, *others = check(path).findings
    assert [other.rule for other in others] == ["mismatched_row"]
    assert (finding.rule, finding.count) == ("duplicate_cid", 1)
    assert finding.witnesses == ("g/dock: cid c1 of r1 stands 3 times",)


def test_an_index_that_lies_about_its_table_is_damage(path):
    spoil(
        path,
        "PRAGMA writable_schema = 1;"
        "UPDATE sqlite_schema SET sql = 'CREATE UNIQUE INDEX events_by_cid ON events (packed, sender, conv)'"
        " WHERE name = 'events_by_cid'",
    )
    findings = check(path).findings
    assert findings[0].rule == "damage"
    assert "events_by_cid" in " ".join(findings[0].witnesses)


def test_overwritten_pages_are_damage(path):
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 200] = b"\x55" * 200
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match="damaged"):
        check(path)


def test_a_missing_file_is_told_and_not_made(tmp_path):
    with pytest.raises(StoreUnavailable, match="cannot open"):
        check(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []
