"""Who a client is: registration with an enrolment token, and proof by key or bearer token."""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from imserver.core.acts import ActKind, KeyReplaced, key_fingerprint
from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.core.ids import Ids
from imserver.core.model import Enrolment, RobotRecord
from imserver.core.scopes import ALL, Scopes
from imserver.core.tokens import Claims, TokenAuthority
from imserver.core.warrant import Warrant, warrant_of
from imserver.data.store import Registry
from imserver.logic.groups import Groups
from imserver.logic.ledger import Ledger
from imserver.logic.session import Session
from imserver.logic.standing import Standing
from imserver.protocol import names
from imserver.protocol.client_frames import Hello, Register, RotateKey
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import DeviceName, RobotName
from imserver.protocol.proof import rotation_text, signed_text

# Checking a signature against this key takes as long as against a robot's: nobody learns from the time
# an answer takes which names are registered. It is the base point of the curve, whose private key is no key.
_STAND_IN: Final = bytes.fromhex("58" + "66" * 31)


class Identity:
    """The use cases `register`, `hello` and `prove`."""

    def __init__(
        self,
        registry: Registry,
        groups: Groups,
        authority: TokenAuthority,
        *,
        standing: Standing,
        ledger: Ledger,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._registry = registry
        self._groups = groups
        self._authority = authority
        self._standing = standing
        self._ledger = ledger
        self._clock = clock
        self._ids = ids
        self.server_id: Final = authority.server_id

    async def register(self, frame: Register) -> None:
        """Bind a robot's name to its key, for good, and put it into the groups of its token.

        A robot that lost the answer may ask again with the same key; what was begun is then finished.

        Raises:
            Refusal: ``unauthenticated`` for a token that is not good, not for this name, or spent;
                ``exists`` if the name has a key already; ``bad_frame`` for a bad name or key.
        """
        robot, _ = claimed(frame.robot, "main")
        _check_key(frame.public_key)
        claims = self._authority.read(frame.token, kind="enroll", now_ms=self._clock.now_ms())
        self._standing.check(_warrant(claims, ALL))
        if claims.robot != robot:
            raise _unauthenticated(
                f"this token enrols {claims.robot!r}, not {robot!r}: ask for one in your name"
            )
        known = await self._registry.robot(robot)
        if known is None or known.public_key != frame.public_key:
            record = RobotRecord(robot, frame.public_key, self._clock.now_ms())
            enrolment = Enrolment(claims.id, claims.issued_ms, claims.expires_ms)
            act = self._ledger.act(
                ActKind.ROBOT_REGISTERED,
                robot,
                robot=robot,
                token_id=claims.id,
                facts={"key": key_fingerprint(frame.public_key), "groups": list(claims.groups)},
            )
            await self._registry.register(record, enrolment=enrolment, act=act)
            self._ledger.note(act)
        await self._groups.enrol(robot, claims.groups, token_id=claims.id)

    def new_nonce(self) -> str:
        """Return a nonce for one challenge of one connection."""
        return self._ids.token()

    async def prove(self, hello: Hello, *, nonce: str, signature: bytes) -> Warrant:
        """Return what the client has shown if the signature over the challenge is by its robot's key.

        Raises:
            Refusal: ``unauthenticated``; unknown robots and wrong signatures get the same answer.
        """
        robot, device = claimed(hello.robot, hello.device)
        now_ms = self._clock.now_ms()
        record = await self._registry.robot(robot)
        known = record is not None and record.public_key is not None
        key = record.public_key if record is not None and record.public_key else _STAND_IN
        text = signed_text(server=self.server_id, nonce=nonce, robot=robot, device=device)
        if not (_verified(key, signature, text) and known):
            raise _unauthenticated(
                f"robot {robot!r} is not registered, or the signature is not its key's over "
                "`imserver.v1 <server> <nonce> <robot> <device>` of this challenge"
            )
        return Warrant(robot, now_ms, key=key_fingerprint(key))

    async def bear(self, hello: Hello, token: str) -> Warrant:
        """Return what the client has shown if the bearer token is good for the name in ``hello``.

        A name that is not known yet is registered, without a key: the operator's token vouches for it.

        Raises:
            Refusal: ``unauthenticated``.
        """
        robot, _ = claimed(hello.robot, hello.device)
        now_ms = self._clock.now_ms()
        claims = self._authority.read(token, kind="bearer", now_ms=now_ms)
        if claims.robot != robot:
            raise _unauthenticated(f"this token is {claims.robot!r}'s and not good for {robot!r}")
        warrant = _warrant(claims)
        self._standing.check(warrant)
        await self._registry.ensure_robot(RobotRecord(robot, None, now_ms))
        return warrant

    def check(self, session: Session) -> None:
        """Return if what a session was opened on counts still.

        Raises:
            Refusal: ``unauthenticated``.
        """
        self._standing.check(session.warrant)

    async def rotate(self, session: Session, frame: RotateKey) -> None:
        """Put a new key in the place of the robot's own; what else the old one opened is closed.

        A robot that lost the answer may ask again.

        Raises:
            Refusal: ``bad_frame`` for a key that is none; ``unauthenticated`` if a signature is not good;
                ``forbidden`` for a robot without a key, and for a token without all its robot's rights;
                ``conflict`` if the key was replaced or revoked meanwhile.
        """
        robot = session.robot
        _check_key(frame.public_key)
        record = await self._registry.robot(robot)
        if session.scopes is not None or record is None or record.public_key is None:
            raise Refusal(
                ErrorCode.FORBIDDEN, f"{robot} has no key to replace, or this token is not for that"
            )
        old, new = record.public_key, frame.public_key
        if old == new:
            return
        text = rotation_text(
            server=self.server_id, session=session.id, robot=robot, old=old, new=new
        )
        if not (_verified(old, frame.signature, text) and _verified(new, frame.proof, text)):
            raise _unauthenticated(
                "`signature` must be by the robot's key and `proof` by the new one, both over `imserver.v1 "
                "rotate <server> <session> <robot> <old> <new>` of this session"
            )
        act = self._ledger.act(
            ActKind.KEY_ROTATED,
            robot,
            robot=robot,
            facts={"old": key_fingerprint(old), "new": key_fingerprint(new)},
            change=KeyReplaced(old, new),
        )
        before = session.warrant
        # This session has proven both.
        session.warrant = before._replace(since_ms=act.at_ms + 1, key=key_fingerprint(new))
        is_done = False
        try:
            [is_done] = await self._ledger.perform([act])
        finally:
            if not is_done:
                session.warrant = before
        if not is_done:
            raise Refusal(
                ErrorCode.CONFLICT, f"the key of {robot} was replaced or revoked meanwhile"
            )

    async def vouch(self, hello: Hello) -> Warrant:
        """Take the name in ``hello`` as proven, since the client's certificate names it.

        A name that is not known yet is registered, without a key: the operator's authority vouches for it.

        Raises:
            Refusal: ``unauthenticated``, the robot was revoked once: its certificate may be in other hands.
        """
        robot, _ = claimed(hello.robot, hello.device)
        now_ms = self._clock.now_ms()
        record = await self._registry.ensure_robot(RobotRecord(robot, None, now_ms))
        if record.revoked_ms is not None:
            raise _unauthenticated(
                f"{robot} was revoked, and its certificates with it; enrol it with a key"
            )
        return Warrant(robot, now_ms)


def claimed(robot: str, device: str) -> tuple[RobotName, DeviceName]:
    """Return the names a client claims, checked.

    Raises:
        Refusal: ``bad_frame``.
    """
    try:
        return names.robot_name(robot), names.device_name(device)
    except names.InvalidName as exc:
        raise Refusal(ErrorCode.BAD_FRAME, str(exc)) from exc


def _warrant(claims: Claims, scopes: Scopes | None = None) -> Warrant:
    try:
        return warrant_of(claims, scopes)
    except ValueError as exc:
        raise _unauthenticated(
            f"the token was minted by another version of imserver: {exc}"
        ) from exc


def _verified(key: bytes, signature: bytes, text: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _check_key(key: bytes) -> None:
    # Eight points have small order, with fourteen spellings; a signature by one of them proves nothing
    # (RFC 8032, 5.1.7; ZIP 215). Spellings beyond the field's prime are no generator's either.
    y = int.from_bytes(key, "little") & ((1 << 255) - 1)
    if y >= _P or y in _SMALL_ORDER_Y:
        raise Refusal(
            ErrorCode.BAD_FRAME, "`public_key` must be an Ed25519 public key that was generated"
        )


_P: Final = 2**255 - 19
_SMALL_ORDER_Y: Final = frozenset(
    {
        0,
        1,
        _P - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    }
)


def _unauthenticated(message: str) -> Refusal:
    return Refusal(ErrorCode.UNAUTHENTICATED, message)
