"""Tickets: how a browser's EventSource, which sends no headers, opens a stream, with no token in its address.

Whoever has a token gets a ticket for one conversation; it is good once, and for a moment. What it opens comes
with a pass that only the browser keeps, as a cookie: with both, the stream that broke off is opened again. So
an address that was seen by others opens nothing.

Tickets live in this node's memory and end with it. A pass is signed and survives a restart.
"""

import hashlib
from typing import Final, NamedTuple

from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.core.ids import Ids
from imserver.core.scopes import Scopes
from imserver.core.tokens import KEY, Claims, TokenAuthority
from imserver.core.warrant import Warrant
from imserver.logic.session import Session
from imserver.logic.standing import Standing
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import ConversationName, RobotName

TICKET_TTL_MS: Final = 30_000
PASS_TTL_MS: Final = 12 * 3_600_000
HTTP_TTL_MS: Final = 10 * 60_000
TICKETS_MAX: Final = 10_000
"""Tickets that are out at a time; with more of them the oldest ends early."""


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


class _Issued(NamedTuple):
    warrant: Warrant
    conv: ConversationName
    opens_until_ms: int
    expires_ms: int


class Tickets:
    """The tickets of this node."""

    def __init__(
        self, authority: TokenAuthority, standing: Standing, *, clock: Clock, ids: Ids
    ) -> None:
        self._authority = authority
        self._standing = standing
        self._clock = clock
        self._ids = ids
        self._issued: dict[str, _Issued] = {}

    def issue(
        self, session: Session, conv: ConversationName, *, expires_ms: int
    ) -> tuple[str, int]:
        """Return a ticket for one stream of ``conv``, and until when it opens it.

        ``expires_ms`` is when the token ends that the session was opened with; its stream ends with it.
        """
        now_ms = self._clock.now_ms()
        self._forget(now_ms)
        opens_until_ms = min(now_ms + TICKET_TTL_MS, expires_ms)
        expires_ms = min(now_ms + PASS_TTL_MS, expires_ms)
        ticket = self._ids.token()
        self._issued[ticket] = _Issued(session.warrant, conv, opens_until_ms, expires_ms)
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
            behind="" if warrant.token_id else KEY,
        )
        return self._authority.mint(claims), expires_ms

    def redeem(self, ticket: str, *, kept_pass: str | None) -> Grant:
        """Return what a ticket allows, the first time, and again to who kept the pass.

        Raises:
            Refusal: ``unauthenticated``.
        """
        grant = self._redeemed(ticket, kept_pass)
        self._standing.check(grant.warrant)
        return grant

    def _redeemed(self, ticket: str, kept_pass: str | None) -> Grant:
        now_ms = self._clock.now_ms()
        issued = self._issued.pop(ticket, None)
        if issued is not None and now_ms < issued.opens_until_ms:
            new_pass = self._authority.mint(_pass_for(issued, fingerprint(ticket)))
            return Grant(issued.warrant, issued.conv, issued.expires_ms, new_pass)
        if kept_pass is None:
            raise _spent()
        claims = self._authority.read(kept_pass, kind="stream", now_ms=now_ms)
        if claims.id != fingerprint(ticket):
            raise _spent()
        conv = ConversationName(claims.groups[0])
        return Grant(
            Warrant(
                RobotName(claims.robot),
                claims.issued_ms,
                Scopes(claims.scopes),
                claims.behind,
                claims.expires_ms,
            ),
            conv,
            claims.expires_ms,
            None,
        )

    def _forget(self, now_ms: int) -> None:
        """Let go of tickets that are over; all last equally long, so that the oldest are first."""
        while self._issued:
            oldest = next(iter(self._issued))
            if len(self._issued) < TICKETS_MAX and now_ms < self._issued[oldest].opens_until_ms:
                return
            del self._issued[oldest]


def _pass_for(issued: _Issued, token_id: str) -> Claims:
    """Return the claims of a pass. It is as old as the token behind it: what ends that one ends both."""
    warrant = issued.warrant
    return Claims(
        "stream",
        warrant.robot,
        token_id,
        warrant.since_ms,
        issued.expires_ms,
        groups=(issued.conv,),
        scopes=warrant.scopes.texts,
        behind=warrant.token_id,
    )


def fingerprint(ticket: str) -> str:
    """Return what stands for a ticket where the ticket itself must not: 128 bits of its SHA-256."""
    return hashlib.sha256(ticket.encode()).hexdigest()[:32]


def _spent() -> Refusal:
    return Refusal(
        ErrorCode.UNAUTHENTICATED,
        "this ticket is not good, or not any more: each opens one stream, soon; ask for another one",
    )
