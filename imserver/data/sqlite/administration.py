"""Administrative acts, tokens on record and starts of programs, in an embedded store.

The functions run on the store's threads; the two classes bring calls there, as `SqliteStore` does for the
other ports.
"""

from collections.abc import Sequence
from typing import Any, Final

import apsw
import msgspec

from imserver.core.acts import (
    Act,
    KeyReplaced,
    RecordedAct,
    Revoked,
    RobotEnded,
    TokenEnded,
    TokenMade,
    TokenRecord,
)
from imserver.core.model import Boot
from imserver.data.sqlite.reader import Reader
from imserver.data.sqlite.rows import encode_json
from imserver.data.sqlite.statements import load_statements
from imserver.data.sqlite.threads import Reads, Transactions
from imserver.data.store import BOOTS_MAX
from imserver.protocol.names import DeviceName, RobotName

_SQL: Final = load_statements(__package__, "administration.sql")
_acts = msgspec.json.Decoder(list[RecordedAct]).decode
_tokens = msgspec.json.Decoder(list[TokenRecord]).decode
_revoked = msgspec.json.Decoder(Revoked).decode
_boot = msgspec.json.Decoder(Boot).decode
_NUMBER_MAX: Final = 2**63 - 1


class SqliteAdministration:
    """An `Administration`."""

    def __init__(self, read: Reads, transact: Transactions) -> None:
        self._read = read
        self._transact = transact

    async def perform(self, acts: Sequence[Act]) -> list[bool]:
        done: list[bool] = await self._transact(lambda db: record(db, acts))
        return done

    async def acts(self, *, before: int | None, limit: int) -> list[RecordedAct]:
        values = {"before": _NUMBER_MAX if before is None else before, "limit": max(limit, 0)}
        return _acts(await self._read(_text, "acts", values))

    async def forget(self, *, acts_before_ms: int, acts_max: int, now_ms: int) -> None:
        values = {"before_ms": acts_before_ms, "acts_max": acts_max}

        def work(db: apsw.Connection) -> None:
            db.execute(_SQL["forget_acts"], values)
            db.execute(_SQL["forget_tokens"], (now_ms,))

        await self._transact(work)

    async def tokens(self, *, robot: RobotName | None, after: str, limit: int) -> list[TokenRecord]:
        values = {"robot": robot, "after": after, "limit": max(limit, 0)}
        return _tokens(await self._read(_text, "tokens", values))

    async def token(self, token_id: str) -> TokenRecord | None:
        values = {"id": token_id}
        found = _tokens(await self._read(_text, "token", values))
        return found[0] if found else None

    async def revoked(self) -> Revoked:
        return _revoked(await self._read(_text, "revoked", {}))


class SqliteBoots:
    """A `Boots`."""

    def __init__(self, read: Reads, transact: Transactions) -> None:
        self._read = read
        self._transact = transact

    async def last_boot(self, robot: RobotName, device: DeviceName) -> Boot | None:
        values = {"robot": robot, "device": device}
        text = await self._read(_text, "last_boot", values)
        return None if text is None else _boot(text)

    async def note_boot(self, robot: RobotName, device: DeviceName, boot: Boot) -> None:
        values = {"robot": robot, "device": device, "number": boot.number}

        def work(db: apsw.Connection) -> None:
            db.execute(_SQL["note_boot"], values | {"instance": boot.instance})
            db.execute(_SQL["forget_boots"], {"robot": robot, "boots_max": BOOTS_MAX})

        await self._transact(work)


def record(db: apsw.Connection, acts: Sequence[Act]) -> list[bool]:
    """Carry out and record acts within the transaction that is open on ``db``."""
    return [_act(db, act) for act in acts]


def _act(db: apsw.Connection, act: Act) -> bool:
    if db.execute(_SQL["is_performed"], (act.id,)).get is not None:
        return True
    if not _change(db, act):
        return False
    facts = encode_json(act.facts)
    row = (act.id, act.at_ms, act.by, act.kind.value, act.robot, act.token_id, facts)
    db.execute(_SQL["record"], row)
    return True


def _change(db: apsw.Connection, act: Act) -> bool:
    values: dict[str, Any] = {
        "at_ms": act.at_ms,
        "robot": act.robot or "",
        "id": act.token_id or "",
    }
    match act.change:
        case TokenMade() as made:
            values |= {
                "kind": made.kind,
                "scopes": encode_json(made.scopes),
                "convs": encode_json(made.groups),
                "by": act.by,
                "expires_ms": made.expires_ms,
            }
            db.execute(_SQL["put_token"], values)
        case TokenEnded(expires_ms=expires_ms):
            db.execute(_SQL["end_token"], values | {"expires_ms": expires_ms})
        case RobotEnded():
            db.execute(_SQL["end_robot"], values)
        case KeyReplaced(old=old, new=new):
            values |= {"old": old, "new": new}
            return bool(db.execute(_SQL["replace_key"], values).fetchall())
    return True


def _text(reader: Reader, name: str, values: Any) -> str | None:
    row = reader.row(_SQL[name], values)
    return None if row is None else row[0]
