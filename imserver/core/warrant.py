"""Warrants: as whom a client was let in, on what ground, and how far that goes."""

from typing import NamedTuple

from imserver.core.scopes import ALL, Scopes
from imserver.core.tokens import KEY, Claims
from imserver.protocol.names import RobotName


class Warrant(NamedTuple):
    """What a client has shown.

    Attributes:
        robot: as whom it acts.
        since_ms: when its token was minted, or its key or certificate proven, in milliseconds since 1970.
        scopes: what of its robot's rights it has.
        token_id: its bearer token's; empty for a key or a certificate, and for a token that was got with one:
            it ends with it.
        expires_ms: until when it is good, in milliseconds since 1970; None for as long as the connection is.
        key: fingerprint of the key that was proven; empty if none was, or that is not known any more.
    """

    robot: RobotName
    since_ms: int
    scopes: Scopes = ALL
    token_id: str = ""
    expires_ms: int | None = None
    key: str = ""

    @property
    def ground(self) -> str:
        """What a token says that is got with it: with what it was (`Claims.behind`)."""
        return self.token_id or f"{KEY}:{self.key}"


def warrant_of(claims: Claims, scopes: Scopes | None = None) -> Warrant:
    """Return what the bearer of a token has shown; ``scopes`` if a token of its kind names none.

    Raises:
        ValueError: a scope in it is none; a later version minted it.
    """
    ground = claims.behind or claims.id
    kind, _, key = ground.partition(":")
    return Warrant(
        RobotName(claims.robot),
        claims.issued_ms,
        Scopes(claims.scopes) if scopes is None else scopes,
        "" if kind == KEY else ground,
        claims.expires_ms,
        key,
    )
