"""Administrative acts and starts of programs, in memory: a part of the store in memory."""

from collections.abc import Sequence

from msgspec import structs

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
from imserver.core.model import Boot, RobotRecord
from imserver.data.store import BOOTS_MAX
from imserver.protocol.names import DeviceName, RobotName


class MemoryAdministration:
    """An `Administration` over the robots and spent tokens of a `MemoryStore`."""

    def __init__(self, robots: dict[RobotName, RobotRecord], spent: set[str]) -> None:
        self._robots = robots
        self._spent = spent
        self._performed: dict[str, RecordedAct] = {}
        self._count = 0
        self._tokens: dict[str, TokenRecord] = {}

    async def perform(self, acts: Sequence[Act]) -> list[bool]:
        return [self._perform(act) for act in acts]

    async def acts(self, *, before: int | None, limit: int) -> list[RecordedAct]:
        found = [act for act in self._performed.values() if before is None or act.number < before]
        return found[::-1][: max(limit, 0)]

    async def forget(self, *, acts_before_ms: int, acts_max: int, now_ms: int) -> None:
        kept = list(self._performed.items())[-acts_max:] if acts_max else []
        self._performed = {key: act for key, act in kept if act.at_ms >= acts_before_ms}
        for token_id, token in list(self._tokens.items()):
            if token.expires_ms <= now_ms:
                del self._tokens[token_id]

    async def tokens(self, *, robot: RobotName | None, after: str, limit: int) -> list[TokenRecord]:
        found = sorted(
            (t for t in self._tokens.values() if t.id > after and robot in (None, t.robot)),
            key=lambda token: token.id,
        )
        return [structs.replace(t, spent=t.id in self._spent) for t in found[: max(limit, 0)]]

    async def token(self, token_id: str) -> TokenRecord | None:
        found = self._tokens.get(token_id)
        return found and structs.replace(found, spent=token_id in self._spent)

    async def revoked(self) -> Revoked:
        return Revoked(
            {t.id: t.expires_ms for t in self._tokens.values() if t.revoked_ms is not None},
            {r.name: r.revoked_ms for r in self._robots.values() if r.revoked_ms is not None},
        )

    def _perform(self, act: Act) -> bool:
        if act.id in self._performed:
            return True
        if not self._apply(act):
            return False
        self._count += 1
        self._performed[act.id] = RecordedAct(
            self._count, act.at_ms, act.by, act.kind, act.robot, act.token_id, act.facts
        )
        return True

    def _apply(self, act: Act) -> bool:
        robot, token_id = act.robot or RobotName(""), act.token_id or ""
        match act.change:
            case TokenMade() as made:
                token = TokenRecord(
                    token_id,
                    made.kind,
                    robot,
                    made.scopes,
                    made.groups,
                    act.at_ms,
                    act.by,
                    made.expires_ms,
                )
                self._tokens.setdefault(token_id, token)
            case TokenEnded(expires_ms=expires_ms):
                unknown = TokenRecord(token_id, "", robot, (), (), act.at_ms, "", expires_ms)
                known = self._tokens.get(token_id, unknown)
                if known.revoked_ms is None:
                    self._tokens[token_id] = structs.replace(known, revoked_ms=act.at_ms)
            case RobotEnded():
                record = self._robots.get(robot) or RobotRecord(robot, None, act.at_ms)
                revoked_ms = max(act.at_ms, record.revoked_ms or 0)
                self._robots[robot] = structs.replace(
                    record, public_key=None, revoked_ms=revoked_ms
                )
            case KeyReplaced(old=old, new=new):
                found = self._robots.get(robot)
                if found is None or found.public_key != old:
                    return False
                self._robots[robot] = structs.replace(found, public_key=new)
        return True


class MemoryBoots:
    """A `Boots`."""

    def __init__(self) -> None:
        self._last: dict[RobotName, dict[DeviceName, Boot]] = {}

    async def last_boot(self, robot: RobotName, device: DeviceName) -> Boot | None:
        return self._last.get(robot, {}).get(device)

    async def note_boot(self, robot: RobotName, device: DeviceName, boot: Boot) -> None:
        devices = self._last.setdefault(robot, {})
        devices.pop(device, None)
        devices[device] = boot
        while len(devices) > BOOTS_MAX:
            del devices[next(iter(devices))]
