"""Looks through a store's file for damage and for what must not be: what ``imserver check`` runs.

Reads only, in one snapshot, beside a running server if there is one. It judges the file against the store's
own rules; whether bodies make sense is not its business.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from imserver.core.errors import SealBroken, StoreCorrupt, StoreUnavailable
from imserver.core.key_ring import OVERHEAD, KeyId, KeyRing
from imserver.data.directory import FILES_NAME
from imserver.data.disk.files import flaws
from imserver.data.findings import RULES, WITNESSES_MAX, Finding, Report, Tally
from imserver.data.sealing import EventSeal, key_number, key_of
from imserver.data.sqlite.file import (
    damaged_pages,
    extended_code,
    is_damage,
    lost_commits,
    open_for_reading,
)
from imserver.data.sqlite.rows import amends, as_sealed, sealed_body, unpack
from imserver.data.sqlite.statements import load_statements
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName

_SQL: Final = load_statements(__package__, "check.sql")
_DAMAGE_MAX: Final = 100
_texts: Final = msgspec.json.Decoder(list[str | None]).decode

_SQL_RULES: Final = [rule for rule in RULES if rule in _SQL]


def check(path: Path, ring: KeyRing | None = None) -> Report:
    """Look through the store in the file ``path``, in time linear in its size. Blocks.

    With a ``ring``, bodies that are sealed with its keys are opened.

    Raises:
        StoreCorrupt: the file is not a store, or is too damaged to be read at all.
        StoreTooNew: a newer version wrote it.
        StoreUnavailable: it does not exist or cannot be opened.
    """
    lost = lost_commits(path)
    if lost is not None:
        # SQLite must not open the file: its index of the WAL is evidence, and would be made anew.
        finding = Finding("lost_commits", RULES["lost_commits"], lost.lost, (str(lost),))
        return Report(str(path), apsw.sqlite_lib_version(), 0, 0, (finding,))
    db = open_for_reading(path)
    try:
        findings = _damage(db, path)
        with db:  # one snapshot for all questions
            conversations, events = _row(db, "totals")
            findings += [finding for rule in _SQL_RULES for finding in _broken(db, rule)]
            rows = _Rows(ring)
            rows.check(db)
            findings += rows.tally.findings()
        findings += _file_findings(db, path.with_name(FILES_NAME))
    except apsw.Error as exc:
        if is_damage(exc):
            raise StoreCorrupt(f"{path} is too damaged to be checked further: {exc}") from exc
        raise StoreUnavailable(f"{path} cannot be read now: {exc}") from exc
    finally:
        db.close()
    version = apsw.sqlite_lib_version()
    return Report(str(path), version, conversations, events, tuple(findings), rows.unopened)


def _file_findings(db: apsw.Connection, folder: Path) -> list[Finding]:
    found: dict[str, list[str]] = {}
    for flaw in flaws(db, folder):
        found.setdefault(flaw.rule, []).append(flaw.witness)
    return [
        Finding(rule, RULES[rule], len(places), tuple(places[:WITNESSES_MAX]))
        for rule, places in found.items()
    ]


def _damage(db: apsw.Connection, path: Path) -> list[Finding]:
    places = _damaged_places(db)
    pages = damaged_pages(path) if places else []
    if pages:
        db.execute("PRAGMA checksum_verification = OFF").fetchall()  # to see what else there is
        places = [f"the checksum of page {number} is wrong" for number in pages]
        places += _damaged_places(db)
    if not places:
        return []
    witnesses = tuple(places[:WITNESSES_MAX])
    return [Finding("damage", "damaged places in the file", len(places), witnesses)]


def _damaged_places(db: apsw.Connection) -> list[str]:
    try:
        rows: list[Any] = db.execute(f"PRAGMA integrity_check({_DAMAGE_MAX})").fetchall()
    except apsw.Error as exc:
        if extended_code(exc) != apsw.SQLITE_IOERR_DATA:
            raise
        return [f"a page has a wrong checksum ({exc})"]
    return [str(place) for (text,) in rows for place in text.splitlines() if place != "ok"]


def _broken(db: apsw.Connection, rule: str) -> list[Finding]:
    count, witnesses = _row(db, rule, {"limit": WITNESSES_MAX})
    if not count:
        return []
    texts = tuple(text or "(unnamed)" for text in _texts(witnesses))
    return [Finding(rule, RULES[rule], count, texts)]


class _Rows:
    """One look through the rows of events: at what stands packed in them, and at their seals.

    Attributes:
        tally: what is wrong with them.
        unopened: how many bodies are sealed with keys that are not in the ring.
    """

    def __init__(self, ring: KeyRing | None) -> None:
        self._seal = None if ring is None else EventSeal(ring)
        self.tally = Tally()
        self.unopened = 0

    def check(self, db: apsw.Connection) -> None:
        """Look through all of them."""
        rows: Iterable[Any] = db.execute(_SQL["rows"])
        for conv, *columns, packed in rows:
            try:
                event = unpack(packed)
            except StoreCorrupt:
                self.tally.add("mismatched_row", f"{conv}: {columns[0]}")
                continue
            self._check(conv, tuple(columns), event)

    def _check(self, conv: str, columns: tuple[Any, ...], event: Event) -> None:
        seq, ref = columns[0], event.ref
        sealed = sealed_body(event)
        key = None if sealed is None else key_number(sealed)
        size = len(bytes(event.body)) if sealed is None else len(sealed) - OVERHEAD
        amended = amends(event.kind, ref)
        if columns != (event.seq, event.sender, event.cid, amended, key, size):
            self.tally.add("mismatched_row", f"{conv}: {seq}")
        if ref is not None and not 1 <= ref < seq:
            self.tally.add("dangling_ref", f"{conv}: {seq} refers to {ref}")
        named = columns[4]
        if sealed is not None and named is not None:
            self._check_seal(conv, seq, key_of(named), as_sealed(event))

    def _check_seal(self, conv: str, seq: int, key: KeyId, event: Event) -> None:
        if self._seal is None or key not in self._seal.ring.ids:
            self.unopened += 1
            return
        try:
            self._seal.open(ConversationName(conv), event)
        except SealBroken:
            self.tally.add("broken_seal", f"{conv}: {seq}")


def _row(db: apsw.Connection, name: str, values: dict[str, int] | None = None) -> Any:
    return db.execute(_SQL[name], values).fetchone()
