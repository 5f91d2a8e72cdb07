"""For admins, over HTTP: tokens, revocations, the audit log, and the nodes."""

from typing import Annotated, TypeAlias

from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from imserver.access.http.administration_shapes import Audit, NewToken, Nodes, Token, Tokens
from imserver.access.http.groups import LIMIT, After, Limit
from imserver.access.http.json_body import JsonBody
from imserver.access.http.problems import problems
from imserver.access.http.readable import Asking
from imserver.access.http.routes import Routes
from imserver.access.use_cases import UseCases
from imserver.core.errors import Refusal
from imserver.core.scopes import WHOLE
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import SEQ_MAX

_Before: TypeAlias = Annotated[
    int | None,
    QueryParameter(ge=1, le=SEQ_MAX, description="number of the last act of the page before"),
]


class AdministrationRoutes(Routes):
    """The deployment's affairs."""

    def __init__(self, cases: UseCases) -> None:
        self._administering = cases.administering
        self._nodes = cases.nodes

    def handlers(self) -> list[HTTPRouteHandler]:
        listing, ending = problems(ErrorCode.TOO_LARGE), problems(ErrorCode.NOT_FOUND)
        return [
            post("/tokens", dto=JsonBody, return_dto=None, responses=listing)(self.mint),
            get("/tokens", responses=listing)(self.tokens),
            delete("/tokens/{token:str}", responses=ending)(self.revoke_token),
            delete("/robots/{robot:str}", responses=ending)(self.revoke_robot),
            get("/audit", responses=listing)(self.audit),
            get("/nodes", responses=problems())(self.nodes),
        ]

    async def mint(self, request: Asking, data: JSONBody[NewToken]) -> Token:
        """Mint a token, as an admin."""
        if data.scopes if data.kind == "enroll" else data.groups:
            raise Refusal(
                ErrorCode.BAD_FRAME, "`groups` goes with the kind `enroll`, `scopes` with `bearer`"
            )
        session, ttl_ms, cases = request.user, data.ttl_s * 1_000, self._administering
        if data.kind == "enroll":
            token, claims = await cases.mint_enrolment(
                session, data.robot, groups=data.groups, ttl_ms=ttl_ms
            )
        else:
            scopes = data.scopes or [WHOLE]
            token, claims = await cases.mint_bearer(
                session, data.robot, scopes=scopes, ttl_ms=ttl_ms
            )
        return Token(token, claims.id, claims.expires_ms)

    async def tokens(
        self,
        request: Asking,
        *,
        robot: FromQuery[str | None] = None,
        after: After = None,
        limit: Limit = LIMIT,
    ) -> Tokens:
        """List the tokens that have not expired, by id, as an admin: of one robot or of all."""
        return Tokens(
            await self._administering.tokens(request.user, robot=robot, after=after, limit=limit)
        )

    async def revoke_token(self, request: Asking, token: FromPath[str]) -> None:
        """End a token, by its id, and all that was opened with it, as an admin."""
        await self._administering.revoke_token(request.user, token)

    async def revoke_robot(self, request: Asking, robot: FromPath[str]) -> None:
        """End a robot's key and all its tokens, and what was opened with them, as an admin."""
        await self._administering.revoke_robot(request.user, robot)

    async def audit(
        self, request: Asking, *, before: _Before = None, limit: Limit = LIMIT
    ) -> Audit:
        """List what was done to the deployment, newest first, as an admin."""
        return Audit(await self._administering.acts(request.user, before=before, limit=limit))

    async def nodes(self, request: Asking) -> Nodes:
        """List the nodes that are there, by name, with what each holds, as an admin."""
        return Nodes(await self._nodes.nodes(request.user))
