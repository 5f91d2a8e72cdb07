"""Robots over HTTP: who is registered and online, registration, tokens, and who asks."""

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from imserver.access.http.callers import ANYBODY
from imserver.access.http.groups import LIMIT, After, Limit
from imserver.access.http.json_body import JsonBody
from imserver.access.http.problems import problems
from imserver.access.http.readable import Asking
from imserver.access.http.routes import Routes
from imserver.access.http.shapes import (
    Caller,
    NewToken,
    Registered,
    Registration,
    Robots,
    Token,
    fields_of,
)
from imserver.access.use_cases import UseCases
from imserver.core.errors import Refusal
from imserver.protocol import client_frames as frames
from imserver.protocol.errors import ErrorCode
from imserver.protocol.server_frames import RobotRow

_NO_ID = 0


class RobotRoutes(Routes):
    """The robots of this deployment."""

    def __init__(self, cases: UseCases) -> None:
        self._cases = cases

    def handlers(self) -> list[HTTPRouteHandler]:
        registering = problems(ErrorCode.EXISTS, ErrorCode.TOO_LARGE)
        return [
            get("/robots", responses=problems(ErrorCode.TOO_LARGE))(self.robots),
            get("/robots/{robot:str}", responses=problems(ErrorCode.NOT_FOUND))(self.robot),
            get("/whoami", responses=problems())(self.whoami),
            post(
                "/robots",
                dto=JsonBody,
                return_dto=None,
                responses=registering,
                opt={ANYBODY: True},
                security=[{}],
            )(self.register),
            post(
                "/tokens",
                dto=JsonBody,
                return_dto=None,
                responses=problems(ErrorCode.TOO_LARGE),
            )(self.mint),
        ]

    async def robots(self, *, after: After = None, limit: Limit = LIMIT) -> Robots:
        """List the registered robots, by name, and whether each is online."""
        return Robots(await self._cases.listings.robots(after=after, limit=limit))

    async def robot(self, robot: FromPath[str]) -> RobotRow:
        """Tell whether a robot is registered, and online."""
        return await self._cases.listings.robot(robot)

    async def whoami(self, request: Asking) -> Caller:
        """Tell for whom the bearer token speaks, and until when."""
        session = request.user
        return Caller(session.robot, session.admin, request.auth.expires_ms)

    async def register(self, data: JSONBody[Registration]) -> Registered:
        """Bind a robot's name to its public key, with an enrolment token instead of a bearer token."""
        await self._cases.identity.register(frames.Register(id=_NO_ID, **fields_of(data)))
        return Registered(data.robot)

    async def mint(self, request: Asking, data: JSONBody[NewToken]) -> Token:
        """Mint a token, as an admin."""
        if data.admin if data.kind == "enroll" else data.groups:
            raise Refusal(
                ErrorCode.BAD_FRAME, "`groups` goes with the kind `enroll`, `admin` with `bearer`"
            )
        session, ttl_ms, minting = request.user, data.ttl_s * 1_000, self._cases.minting
        if data.kind == "enroll":
            token, claims = minting.enrolment(
                session, data.robot, groups=data.groups, ttl_ms=ttl_ms
            )
        else:
            token, claims = minting.bearer(session, data.robot, admin=data.admin, ttl_ms=ttl_ms)
        return Token(token, claims.expires_ms)
