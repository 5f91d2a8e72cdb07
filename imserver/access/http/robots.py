"""Robots over HTTP: who is registered and online, registration, and who asks."""

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
    Registered,
    Registration,
    Robots,
    fields_of,
)
from imserver.access.use_cases import UseCases
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
        ]

    async def robots(self, request: Asking, *, after: After = None, limit: Limit = LIMIT) -> Robots:
        """List the registered robots, by name, and whether each is online."""
        return Robots(await self._cases.listings.robots(request.user, after=after, limit=limit))

    async def robot(self, request: Asking, robot: FromPath[str]) -> RobotRow:
        """Tell whether a robot is registered, and online."""
        return await self._cases.listings.robot(request.user, robot)

    async def whoami(self, request: Asking) -> Caller:
        """Tell for whom the bearer token speaks, how far that goes, and until when."""
        session = request.user
        scopes = list(session.warrant.scopes.texts)
        return Caller(session.robot, session.admin, scopes, request.auth.expires_ms)

    async def register(self, data: JSONBody[Registration]) -> Registered:
        """Bind a robot's name to its public key, with an enrolment token instead of a bearer token."""
        await self._cases.identity.register(frames.Register(id=_NO_ID, **fields_of(data)))
        return Registered(data.robot)
