"""What admins of the deployment ask for: tokens, revocations, and the audit log.

Beside the data directory, commands do the same without a server.
"""

from collections.abc import Callable, Sequence

from imserver.core import tokens
from imserver.core.acts import ActKind, RecordedAct, RobotEnded, TokenEnded, TokenRecord, minting
from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.core.ids import Ids
from imserver.core.tokens import Claims, TokenAuthority
from imserver.data.store import Administration, Registry
from imserver.logic import permissions
from imserver.logic.ledger import Ledger
from imserver.logic.session import Session
from imserver.protocol import names
from imserver.protocol.errors import ErrorCode
from imserver.protocol.limits import Limits
from imserver.protocol.names import RobotName, clip


class Administering:
    """The use cases of admins: each raises `Refusal` (``forbidden``) for everybody else."""

    def __init__(
        self,
        authority: TokenAuthority,
        administration: Administration,
        registry: Registry,
        ledger: Ledger,
        *,
        clock: Clock,
        ids: Ids,
        limits: Limits,
    ) -> None:
        self._authority = authority
        self._administration = administration
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._ids = ids
        self._limits = limits

    async def mint_enrolment(
        self, session: Session, robot: str, *, groups: Sequence[str], ttl_ms: int
    ) -> tuple[str, Claims]:
        """Return a token that registers ``robot`` once and puts it into ``groups``, and what it says.

        Raises:
            Refusal: ``bad_frame`` for a bad name or lifetime.
        """
        return await self._mint(
            session,
            lambda token_id, now_ms: tokens.enrolment(
                robot, token_id=token_id, now_ms=now_ms, ttl_ms=ttl_ms, groups=groups
            ),
        )

    async def mint_bearer(
        self, session: Session, robot: str, *, scopes: Sequence[str], ttl_ms: int
    ) -> tuple[str, Claims]:
        """Return a token that lets its bearer act as ``robot`` until it expires, and what it says.

        Raises:
            Refusal: ``bad_frame`` for a bad name, scope or lifetime.
        """
        return await self._mint(
            session,
            lambda token_id, now_ms: tokens.bearer(
                robot, token_id=token_id, now_ms=now_ms, ttl_ms=ttl_ms, scopes=scopes
            ),
        )

    async def revoke_token(self, session: Session, token_id: str) -> None:
        """End a token, and within a second all that was opened with it.

        Raises:
            Refusal: ``not_found``, there is none of this id that has not expired.
        """
        permissions.require_admin(is_admin=session.admin)
        token = await self._administration.token(token_id)
        if token is None:
            raise Refusal(
                ErrorCode.NOT_FOUND,
                f"no token {clip(token_id)!r} is on record; see `imserver tokens`, or revoke its robot",
            )
        act = self._ledger.act(
            ActKind.REVOKED,
            session.robot,
            robot=token.robot,
            token_id=token.id,
            change=TokenEnded(token.expires_ms),
        )
        await self._ledger.perform([act])

    async def revoke_robot(self, session: Session, robot: str) -> None:
        """End a robot's key and tokens, and within a second all that was opened with them.

        Raises:
            Refusal: ``not_found``, it is not registered.
        """
        permissions.require_admin(is_admin=session.admin)
        known = await self._registry.robot(RobotName(robot)) if names.is_name(robot) else None
        if known is None:
            raise Refusal(
                ErrorCode.NOT_FOUND,
                f"robot {clip(robot)!r} is not registered here; ask `list_robots` for those that are",
            )
        act = self._ledger.act(
            ActKind.ROBOT_REVOKED, session.robot, robot=known.name, change=RobotEnded()
        )
        await self._ledger.perform([act])

    async def tokens(
        self, session: Session, *, robot: str | None, after: str | None, limit: int
    ) -> list[TokenRecord]:
        """Return tokens that have not expired, by id: of one robot or of all."""
        permissions.require_admin(is_admin=session.admin)
        self._check(limit)
        name = None if robot is None else RobotName(robot)
        return await self._administration.tokens(robot=name, after=after or "", limit=limit)

    async def acts(self, session: Session, *, before: int | None, limit: int) -> list[RecordedAct]:
        """Return what was done, newest first: the last acts, or those before one."""
        permissions.require_admin(is_admin=session.admin)
        self._check(limit)
        return await self._administration.acts(before=before, limit=limit)

    async def _mint(
        self, session: Session, make: Callable[[str, int], Claims]
    ) -> tuple[str, Claims]:
        permissions.require_admin(is_admin=session.admin)
        try:
            claims = make(self._ids.token(), self._clock.now_ms())
        except ValueError as exc:
            raise Refusal(ErrorCode.BAD_FRAME, str(exc)) from exc
        await self._ledger.perform([minting(claims, by=session.robot)])
        return self._authority.mint(claims), claims

    def _check(self, limit: int) -> None:
        if limit > self._limits.page_max:
            raise Refusal(
                ErrorCode.TOO_LARGE,
                f"limit {limit} is over {self._limits.page_max}, the most in one page",
            )
