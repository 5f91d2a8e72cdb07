"""Tokens: what an operator hands to a robot (enrolment) or to a person or dashboard (bearer).

A token is ``imt1.<claims>.<signature>``: the claims as JSON and the deployment's Ed25519 signature (RFC 8032)
over them, both in base64url without padding. There is one algorithm and one spelling: whatever is not exactly
what ``mint`` wrote is refused. Whether an enrolment token was spent is the registry's business, not ours. No
I/O, no clock, no randomness: callers hand in the key, the time and the id.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta, Struct

from imserver.core.errors import Refusal
from imserver.core.scopes import ADMIN, WHOLE, Scopes
from imserver.protocol import names
from imserver.protocol.errors import ErrorCode

TokenKind: TypeAlias = Literal["enroll", "bearer", "stream"]
TokenId = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{16,64}$")]
Milliseconds = Annotated[int, Meta(ge=0, le=2**53 - 1)]

TOKEN_CHARS_MAX: Final = 16_384
KEY: Final = "key"
TTL_MS_MAX: Final = 10 * 366 * 86_400_000
_PREFIX: Final = "imt1."
_SIGNED_PREFIX: Final = b"imserver.token.v1\n"  # keeps these signatures apart from all others
_SOURCE: Final[dict[TokenKind, str]] = {
    "enroll": "an enrolment token from `imserver enroll`",
    "bearer": "a bearer token from `imserver token`",
    "stream": "the pass that came with a stream",
}


class Claims(Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says of its holder.

    Attributes:
        kind: ``enroll`` registers a robot once; ``bearer`` opens sessions until it expires; ``stream`` goes
            on with one stream.
        robot: the only name it is good for.
        id: 128 random bits as text; an enrolment token is spent by it.
        issued_ms: milliseconds since 1970 at which it was minted.
        expires_ms: milliseconds since 1970 from which on it is refused.
        groups: conversations (``g/…``) that an enrolled robot becomes a member of; of a stream, the one it
            reads, which may be a direct line.
        scopes: what of its robot's rights a bearer has, as `imserver.core.scopes` describes it.
        behind: of what was got with a bearer token, that one's id; of what was got by a session that a key or
            certificate opened, `KEY`, a colon and the key's fingerprint. Empty in other tokens.
    """

    kind: TokenKind
    robot: str
    id: TokenId
    issued_ms: Milliseconds
    expires_ms: Milliseconds
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    behind: str = ""

    @property
    def admin(self) -> bool:
        """Whether its bearer acts as an owner of every group."""
        return ADMIN in self.scopes


def enrolment(
    robot: str, *, token_id: str, now_ms: int, ttl_ms: int, groups: Iterable[str] = ()
) -> Claims:
    """Return the claims of a token that registers ``robot`` once and adds it to ``groups``.

    Raises:
        ValueError: a name breaks its rule, a conversation is no group, or the lifetime is out of range.
    """
    checked = tuple(_group(group) for group in groups)
    expires_ms = now_ms + _ttl(ttl_ms)
    return Claims("enroll", names.robot_name(robot), token_id, now_ms, expires_ms, groups=checked)


def bearer(
    robot: str,
    *,
    token_id: str,
    now_ms: int,
    ttl_ms: int,
    scopes: Iterable[str] = (WHOLE,),
) -> Claims:
    """Return the claims of a token that opens sessions as ``robot`` until it expires.

    Raises:
        ValueError: the name or a scope breaks its rule, or the lifetime is out of range.
    """
    expires_ms = now_ms + _ttl(ttl_ms)
    texts = Scopes(scopes).texts
    return Claims("bearer", names.robot_name(robot), token_id, now_ms, expires_ms, scopes=texts)


class TokenAuthority:
    """Mints and reads the tokens of one deployment, whose nodes share one signing key."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self._public_key = private_key.public_key()
        digest = hashlib.sha256(self._public_key.public_bytes_raw()).hexdigest()
        self.server_id: Final = f"im-{digest[:32]}"
        """This deployment's stable id, which a robot may pin: 128 bits of its public key's SHA-256."""

    def shared_key(self, purpose: str) -> bytes:
        """Return a secret of 32 bytes that every node of the deployment has, another one for each purpose."""
        derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode())
        return derivation.derive(self._private_key.private_bytes_raw())

    def mint(self, claims: Claims) -> str:
        """Return ``claims`` as a signed token."""
        payload = msgspec.json.encode(claims)
        signature = self._private_key.sign(_SIGNED_PREFIX + payload)
        return f"{_PREFIX}{_to_text(payload)}.{_to_text(signature)}"

    def read(self, token: str, *, kind: TokenKind, now_ms: int) -> Claims:
        """Return the claims of a token of ``kind`` that this deployment signed and that has not expired.

        Raises:
            Refusal: ``unauthenticated``; the message says what is wrong and what would be right.
        """
        payload, signature = _parts(token, kind)
        try:
            self._public_key.verify(signature, _SIGNED_PREFIX + payload)
        except InvalidSignature:
            raise _refused(
                f"the token was not signed by this deployment; use {_SOURCE[kind]} with its data directory"
            ) from None
        claims = _claims(payload, kind)
        if claims.kind != kind:
            raise _refused(f"this is {_SOURCE[claims.kind]}; needed here is {_SOURCE[kind]}")
        if claims.expires_ms <= now_ms:
            raise _refused(f"the token expired at {_date(claims.expires_ms)}; use {_SOURCE[kind]}")
        return claims


def unverified(token: str, *, kind: TokenKind) -> Claims:
    """Return what a token says, for its holder, who lacks the key: true only if the server agrees.

    Raises:
        Refusal: ``unauthenticated``; the token is malformed.
    """
    return _claims(_parts(token, kind)[0], kind)


def _parts(token: str, kind: TokenKind) -> tuple[bytes, bytes]:
    if len(token) > TOKEN_CHARS_MAX:
        raise _refused(f"the token is over {TOKEN_CHARS_MAX} characters; use {_SOURCE[kind]}")
    head, dot, signature = token.removeprefix(_PREFIX).partition(".")
    if not (token.startswith(_PREFIX) and dot):
        raise _malformed(kind)
    return _from_text(head, kind), _from_text(signature, kind)


def _claims(payload: bytes, kind: TokenKind) -> Claims:
    try:
        claims = msgspec.json.decode(payload, type=Claims)
    except msgspec.MsgspecError:
        # Signed by us, and yet unreadable: a later version wrote it.
        raise _refused(
            f"the token was minted by another version of imserver; use {_SOURCE[kind]} of this one"
        ) from None
    if msgspec.json.encode(claims) != payload:
        raise _malformed(kind)
    return claims


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _from_text(text: str, kind: TokenKind) -> bytes:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _malformed(kind) from None
    if _to_text(raw) != text:
        raise _malformed(kind)
    return raw


def _malformed(kind: TokenKind) -> Refusal:
    return _refused(
        f"the token is malformed: it must be {_SOURCE[kind]}, as printed ({_PREFIX}….…)"
    )


def _refused(message: str) -> Refusal:
    return Refusal(ErrorCode.UNAUTHENTICATED, message)


def _group(text: str) -> str:
    conv = names.conversation(text)
    if not names.is_group(conv):
        raise names.InvalidName(
            f"{conv} is a direct line; a robot is enrolled into groups, g/<name>"
        )
    return conv


def _ttl(ttl_ms: int) -> int:
    if not 0 < ttl_ms <= TTL_MS_MAX:
        raise ValueError("a token's lifetime must be more than 0 and at most 10 years")
    return ttl_ms


def _date(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
