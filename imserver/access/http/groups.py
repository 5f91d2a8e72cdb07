"""Groups and their members over HTTP."""

from typing import Annotated, Final, TypeAlias

from litestar import delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from imserver.access.http.json_body import JsonBody
from imserver.access.http.problems import problems
from imserver.access.http.readable import Asking, Conv
from imserver.access.http.routes import Routes
from imserver.access.http.shapes import Groups, NewGroup, NewMembers, NewRole
from imserver.access.use_cases import UseCases
from imserver.protocol.errors import ErrorCode
from imserver.protocol.server_frames import Changed, GroupRow

After: TypeAlias = Annotated[str | None, QueryParameter(description="last name of the page before")]
Limit: TypeAlias = Annotated[int, QueryParameter(ge=1)]
LIMIT: Final = 100


class GroupListRoutes(Routes):
    """The groups as a whole."""

    def __init__(self, cases: UseCases) -> None:
        self._cases = cases

    def handlers(self) -> list[HTTPRouteHandler]:
        listing = problems(ErrorCode.TOO_LARGE)
        creation = problems(ErrorCode.EXISTS, ErrorCode.NOT_FOUND, ErrorCode.TOO_LARGE)
        return [
            get("/groups", responses=listing)(self.groups),
            post("/groups", dto=JsonBody, return_dto=None, responses=creation)(self.create),
        ]

    async def groups(self, request: Asking, *, after: After = None, limit: Limit = LIMIT) -> Groups:
        """List the groups one is a member of, by name; an admin sees all."""
        found = await self._cases.listings.groups(request.user, after=after, limit=limit)
        return Groups(found)

    async def create(self, request: Asking, data: JSONBody[NewGroup]) -> Changed:
        """Create a group and own it."""
        return await self._cases.groups.create(
            request.user, data.name, data.members, is_open=data.open
        )


class GroupRoutes(Routes):
    """One group, and who belongs to it."""

    def __init__(self, cases: UseCases) -> None:
        self._cases = cases

    def handlers(self) -> list[HTTPRouteHandler]:
        reading = problems(ErrorCode.NOT_FOUND)
        changing = problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT)
        adding = changing | problems(ErrorCode.TOO_LARGE)
        return [
            get("/", responses=reading)(self.group),
            delete("/", status_code=200, responses=changing)(self.delete),
            post("/join", status_code=200, responses=adding)(self.join),
            post("/leave", status_code=200, responses=changing)(self.leave),
            post("/members", status_code=200, dto=JsonBody, return_dto=None, responses=adding)(
                self.add
            ),
            delete("/members", status_code=200, responses=changing)(self.remove_several),
            put("/members/{robot:str}", dto=JsonBody, return_dto=None, responses=changing)(
                self.set_role
            ),
            delete("/members/{robot:str}", status_code=200, responses=changing)(self.remove),
        ]

    async def group(self, request: Asking, conv: Conv) -> GroupRow:
        """Tell one's role in the group, how many members it has, and the head of its log."""
        return await self._cases.listings.group(request.user, conv)

    async def delete(self, request: Asking, conv: Conv) -> Changed:
        """End the group for all its members. Its name stays taken."""
        return await self._cases.groups.delete(request.user, conv)

    async def join(self, request: Asking, conv: Conv) -> Changed:
        """Become a member of an open group."""
        return await self._cases.groups.join(request.user, conv)

    async def leave(self, request: Asking, conv: Conv) -> Changed:
        """Stop being a member of the group."""
        return await self._cases.groups.leave(request.user, conv)

    async def add(self, request: Asking, conv: Conv, data: JSONBody[NewMembers]) -> Changed:
        """Add robots to the group."""
        return await self._cases.groups.add(request.user, conv, data.robots, role=data.role)

    async def set_role(
        self, request: Asking, conv: Conv, robot: FromPath[str], data: JSONBody[NewRole]
    ) -> Changed:
        """Give a member another role."""
        return await self._cases.groups.set_role(request.user, conv, robot, role=data.role)

    async def remove(self, request: Asking, conv: Conv, robot: FromPath[str]) -> Changed:
        """Remove a member from the group; who removes itself leaves."""
        if robot == request.user.robot:
            return await self._cases.groups.leave(request.user, conv)
        return await self._cases.groups.remove(request.user, conv, [robot])

    async def remove_several(
        self,
        request: Asking,
        conv: Conv,
        robots: Annotated[
            list[str],
            QueryParameter(name="robot", min_items=1, description="a member; may be repeated"),
        ],
    ) -> Changed:
        """Remove members from the group, all of them by one event."""
        return await self._cases.groups.remove(request.user, conv, robots)
