"""Minting tokens for clients that are admins; beside the data directory, commands need no server for it."""

import logging
from collections.abc import Sequence

from imserver.core import tokens
from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.core.ids import Ids
from imserver.core.tokens import Claims, TokenAuthority
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode

_log = logging.getLogger("imserver.minting")


class Minting:
    """Mints what lets others in."""

    def __init__(self, authority: TokenAuthority, *, clock: Clock, ids: Ids) -> None:
        self._authority = authority
        self._clock = clock
        self._ids = ids

    def enrolment(
        self, session: Session, robot: str, *, groups: Sequence[str], ttl_ms: int
    ) -> tuple[str, Claims]:
        """Return a token that registers ``robot`` once and puts it into ``groups``, and what it says.

        Raises:
            Refusal: ``forbidden`` for who is no admin; ``bad_frame`` for a bad name or lifetime.
        """
        _require_admin(session)
        try:
            claims = tokens.enrolment(
                robot,
                token_id=self._ids.token(),
                now_ms=self._clock.now_ms(),
                ttl_ms=ttl_ms,
                groups=groups,
            )
        except ValueError as exc:
            raise Refusal(ErrorCode.BAD_FRAME, str(exc)) from exc
        return self._minted(session, claims)

    def bearer(
        self, session: Session, robot: str, *, scopes: Sequence[str], ttl_ms: int
    ) -> tuple[str, Claims]:
        """Return a token that lets its bearer act as ``robot`` until it expires, and what it says.

        Raises:
            Refusal: as above.
        """
        _require_admin(session)
        try:
            claims = tokens.bearer(
                robot,
                token_id=self._ids.token(),
                now_ms=self._clock.now_ms(),
                ttl_ms=ttl_ms,
                scopes=scopes,
            )
        except ValueError as exc:
            raise Refusal(ErrorCode.BAD_FRAME, str(exc)) from exc
        return self._minted(session, claims)

    def _minted(self, session: Session, claims: Claims) -> tuple[str, Claims]:
        facts = {
            "by": session.robot,
            "kind": claims.kind,
            "robot": claims.robot,
            "scopes": claims.scopes,
            "expires_ms": claims.expires_ms,
        }
        _log.info("token.minted", extra=facts)
        return self._authority.mint(claims), claims


def _require_admin(session: Session) -> None:
    if not session.admin:
        raise Refusal(
            ErrorCode.FORBIDDEN,
            "only an admin mints tokens; `imserver token --admin` makes a token that is one's",
        )
