"""Tickets: how a browser's EventSource, which sends no headers, opens a stream, with no token in its address.

Whoever has a token gets a ticket for one conversation; it is good once, and for a moment. What it opens comes
with a pass that only the browser keeps, as a cookie: with both, the stream that broke off is opened again. So
an address that was seen by others opens nothing.

What is left for a ticket, under its fingerprint, is the pass: signed, and worth nothing without the ticket.
The first who brings the ticket, to whichever node, gets it. A pass survives a restart.
"""

import hashlib
from typing import Final, NamedTuple

from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.core.ids import Ids
from imserver.core.tokens import Claims, TokenAuthority
from imserver.core.warrant import Warrant, warrant_of
from imserver.logic.session import Session
from imserver.logic.standing import Standing
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import ConversationName
from imserver.route.one_time import OneTime

TICKET_TTL_MS: Final = 30_000
PASS_TTL_MS: Final = 12 * 3_600_000
HTTP_TTL_MS: Final = 10 * 60_000


class Grant(NamedTuple):
    """What a ticket allows.

    Attributes:
        warrant: in whose name, and on what ground.
        conv: what may be read.
        expires_ms: until when, in milliseconds since 1970.
        new_pass: the pass to keep, if it was not there yet.
    """

    warrant: Warrant
    conv: ConversationName
    expires_ms: int
    new_pass: str | None


class Tickets:
    """The tickets of a deployment, as this node makes and takes them."""

    def __init__(
        self,
        authority: TokenAuthority,
        standing: Standing,
        *,
        left: OneTime,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._authority = authority
        self._standing = standing
        self._clock = clock
        self._ids = ids
        self._left = left

    async def issue(
        self, session: Session, conv: ConversationName, *, expires_ms: int
    ) -> tuple[str, int]:
        """Return a ticket for one stream of ``conv``, and until when it opens it.

        ``expires_ms`` is when the token ends that the session was opened with; its stream ends with it.
        """
        now_ms = self._clock.now_ms()
        opens_until_ms = min(now_ms + TICKET_TTL_MS, expires_ms)
        ticket = self._ids.token()
        key = fingerprint(ticket)
        claims = _pass_for(session.warrant, conv, key, min(now_ms + PASS_TTL_MS, expires_ms))
        await self._left.leave(key, self._authority.mint(claims), ttl_ms=opens_until_ms - now_ms)
        return ticket, opens_until_ms

    def for_http(self, session: Session) -> tuple[str, int]:
        """Return a bearer token for HTTP with the rights of a session, and until when it is good.

        It is as old as what let the session in, and has its id if that was a token: what ends that one
        ends both.
        """
        warrant, now_ms = session.warrant, self._clock.now_ms()
        expires_ms = now_ms + HTTP_TTL_MS
        if warrant.expires_ms is not None:
            expires_ms = min(expires_ms, warrant.expires_ms)
        claims = Claims(
            "bearer",
            warrant.robot,
            warrant.token_id or self._ids.token(),
            warrant.since_ms,
            expires_ms,
            scopes=warrant.scopes.texts,
            behind=warrant.ground,
        )
        return self._authority.mint(claims), expires_ms

    async def redeem(self, ticket: str, *, kept_pass: str | None) -> Grant:
        """Return what a ticket allows, the first time, and again to who kept the pass.

        Raises:
            Refusal: ``unauthenticated``.
        """
        key = fingerprint(ticket)
        new_pass = await self._left.take(key)
        text = kept_pass if new_pass is None else new_pass
        if text is None:
            raise _spent()
        claims = self._authority.read(text, kind="stream", now_ms=self._clock.now_ms())
        if claims.id != key:
            raise _spent()
        warrant = warrant_of(claims)
        self._standing.check(warrant)
        return Grant(warrant, ConversationName(claims.groups[0]), claims.expires_ms, new_pass)


def _pass_for(warrant: Warrant, conv: ConversationName, key: str, expires_ms: int) -> Claims:
    """Return the claims of a pass. It is as old as the token behind it: what ends that one ends both."""
    return Claims(
        "stream",
        warrant.robot,
        key,
        warrant.since_ms,
        expires_ms,
        groups=(conv,),
        scopes=warrant.scopes.texts,
        behind=warrant.ground,
    )


def fingerprint(ticket: str) -> str:
    """Return what stands for a ticket where the ticket itself must not: 128 bits of its SHA-256."""
    return hashlib.sha256(ticket.encode()).hexdigest()[:32]


def _spent() -> Refusal:
    return Refusal(
        ErrorCode.UNAUTHENTICATED,
        "this ticket is not good, or not any more: each opens one stream, soon; ask for another one",
    )
