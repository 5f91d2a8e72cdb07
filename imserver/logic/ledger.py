"""The one way to carry out an administrative act: stored with what it changes, in force at once, and logged.

Acts come from clients, from the server itself, and from commands that run beside the data directory: those
cannot write to a store that a server holds, and leave theirs in the spool, where each server looks a few
times a second.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn, Protocol

from msgspec import structs

from imserver.core.acts import Act, ActKind, Fact, RecordedAct
from imserver.core.audit_settings import AuditSettings
from imserver.core.clock import Clock
from imserver.core.errors import StoreUnavailable
from imserver.core.ids import Ids
from imserver.core.settings import RetentionSettings
from imserver.data.store import Administration
from imserver.logic.metrics import AuditMetrics
from imserver.logic.standing import Standing

_log = logging.getLogger("imserver.audit")

LOOK_S: Final = 0.25
LEARN_S: Final = 0.5
EXPIRY_S: Final = 2.0
FORGET_S: Final = 60.0
_SEARCHED: Final = 1_000
_READ_TOGETHER: Final = 200
_KEY_TOKENS_MS: Final = 900_000
"""Longer than a token lives that was got with a key: one that was replaced before has left nothing."""

SERVER: Final = "server"
"""Who does what nobody asked for."""


class Spool(Protocol):
    """Where acts wait that were done beside a running server."""

    async def hand_over(self, perform: Callable[[Sequence[Act]], Awaitable[object]]) -> None:
        """Hand what waits to ``perform``, if anything does; once that returned, it waits no more."""


class Ledger:
    """Performs acts on this node.

    Attributes:
        standing: what the acts put in force here.
        on_noted: told each act that was put into force here.
    """

    def __init__(
        self,
        administration: Administration,
        standing: Standing,
        *,
        metrics: AuditMetrics,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._administration = administration
        self.standing = standing
        self._metrics = metrics
        self._clock = clock
        self._ids = ids
        self._seen = 0
        self.on_noted: Callable[[Act], None] = _ignore

    def act(self, kind: ActKind, by: str, **fields: object) -> Act:
        """Return an act of this moment."""
        return Act(self._ids.token(), self._clock.now_ms(), by, kind, **fields)  # type: ignore[arg-type]

    async def perform(self, acts: Sequence[Act]) -> list[bool]:
        """Carry out acts; when this returns they are durable and in force here.

        Raises:
            StoreUnavailable, StoreFailed: as for `Administration.perform`.
        """
        done = await self._administration.perform(acts)
        for act, is_done in zip(acts, done, strict=True):
            if is_done:
                self.note(act)
        return done

    def note(self, act: Act) -> None:
        """Put an act that is stored into force here, and log it."""
        self.standing.note(act)
        self._metrics.acts.labels(act.kind.value).inc()
        facts = {"act": act.kind.value, "by": act.by, "robot": act.robot, "token": act.token_id}
        _log.info("act.performed", extra=facts | {"facts": act.facts})
        self.on_noted(act)

    async def begin(self, spool: Spool, retention: RetentionSettings) -> None:
        """Learn what is in force, before the first door opens.

        Raises:
            StoreUnavailable, StoreFailed: the store cannot be read or written.
        """
        page = await self._administration.acts(before=None, limit=_READ_TOGETHER)
        await self._learn_keys(page, since_ms=self._clock.now_ms() - _KEY_TOKENS_MS)
        self.standing.learn(await self._administration.revoked())
        await spool.hand_over(self.perform)
        await self._note_retention(retention)

    async def run(self, spool: Spool, settings: AuditSettings, *, shares_store: bool) -> NoReturn:
        """Look for acts in the spool, for tokens that have expired, and for what may be forgotten; of a store
        that other nodes write to as well, also for what they revoked and for keys that were replaced there.

        Raises:
            StoreFailed: a commit's outcome is unknown; the node must stop.
        """
        turn = 0
        while True:
            await asyncio.sleep(LOOK_S)  # nothing tells when another process has written
            turn += 1
            try:
                await spool.hand_over(self.perform)
                if shares_store and turn % round(LEARN_S / LOOK_S) == 0:
                    await self._learn()
                if turn % round(EXPIRY_S / LOOK_S) == 0:
                    self.standing.end_ended()
                if turn % round(FORGET_S / LOOK_S) == 0:
                    await self.forget(settings)
            except StoreUnavailable as exc:
                _log.warning("acts.put_off", extra={"reason": str(exc)})

    async def _learn(self) -> None:
        """Take in whose word counts no more by what any node has stored.

        Nodes tell each other, but what they tell may be lost, and who came with a key that was replaced would
        stay as long as its connection.
        """
        self.standing.learn(await self._administration.revoked())
        await self._learn_keys(await self._administration.acts(before=None, limit=1))

    async def _learn_keys(self, page: list[RecordedAct], *, since_ms: int = 0) -> None:
        """Take in which keys were replaced by the acts of ``page``, the newest, and by older ones, back to
        ``since_ms`` or what was seen before."""
        newest = page[0].number if page else self._seen
        while page:
            fresh = [act for act in page if act.number > self._seen and act.at_ms >= since_ms]
            for act in fresh:
                if act.kind is ActKind.KEY_ROTATED and act.robot:
                    self.standing.replace_key(act.robot, str(act.facts["old"]), act.at_ms)
            oldest = page[-1].number
            if not fresh or oldest <= self._seen + 1:
                break
            page = await self._administration.acts(before=oldest, limit=_READ_TOGETHER)
        self._seen = newest

    async def forget(self, settings: AuditSettings) -> None:
        """Let go of old acts, and of tokens that have expired."""
        now_ms = self._clock.now_ms()
        await self._administration.forget(
            acts_before_ms=now_ms - int(settings.age_s * 1_000),
            acts_max=settings.acts_max,
            now_ms=now_ms,
        )

    async def _note_retention(self, retention: RetentionSettings) -> None:
        """Record by which rules events are let go, if they are others than before."""
        facts: dict[str, Fact] = {
            "age_s": int(retention.age_s),
            "events": retention.events,
            "body_bytes": retention.body_bytes,
            "groups": [f"{conv}: {structs.asdict(r)}" for conv, r in retention.groups.items()],
        }
        for known in await self._administration.acts(before=None, limit=_SEARCHED):
            if known.kind is ActKind.RETENTION_SET:
                if known.facts == facts:
                    return
                break
        else:
            if not retention.lets_go:
                return
        await self.perform([self.act(ActKind.RETENTION_SET, SERVER, facts=facts)])


def _ignore(_act: Act) -> None:
    """Stand in until somebody wants to know."""
