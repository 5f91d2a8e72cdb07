"""The server itself over HTTP: what a `welcome` tells of it, for those who have no session."""

from litestar import get
from litestar.handlers import HTTPRouteHandler

from imserver.access.http.problems import problems
from imserver.access.http.routes import Routes
from imserver.access.http.shapes import ServerFacts
from imserver.access.use_cases import UseCases
from imserver.core.clock import Clock
from imserver.protocol.limits import Limits


class ServerRoutes(Routes):
    """This server, its clock, and its limits."""

    def __init__(self, cases: UseCases, clock: Clock, limits: Limits) -> None:
        self._cases = cases
        self._clock = clock
        self._limits = limits

    def handlers(self) -> list[HTTPRouteHandler]:
        return [get("/server", responses=problems())(self.server)]

    async def server(self) -> ServerFacts:
        """Tell the server's id, its clock, and the limits it holds its clients to."""
        node, server = self._cases.sessions.node, self._cases.identity.server_id
        return ServerFacts(server, node, self._clock.now_ms(), self._limits)
