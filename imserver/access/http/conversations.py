"""Conversations over HTTP beside their events: members, acks, signals, and one's own places."""

from litestar import get, post
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, JSONBody

from imserver.access.http.groups import LIMIT, After, Limit
from imserver.access.http.json_body import JsonBody
from imserver.access.http.problems import problems
from imserver.access.http.readable import Asking, Conv, Readable, Reading
from imserver.access.http.routes import Routes
from imserver.access.http.shapes import (
    Conversations,
    LatestSignals,
    Members,
    NewAck,
    NewAcks,
    NewSignal,
    SignalRow,
)
from imserver.access.refusals import checked_body
from imserver.access.use_cases import UseCases
from imserver.protocol import bodies, limits
from imserver.protocol.codec import JSON
from imserver.protocol.errors import ErrorCode


class ConversationListRoutes(Routes):
    """One's conversations as a whole."""

    def __init__(self, cases: UseCases) -> None:
        self._cases = cases

    def handlers(self) -> list[HTTPRouteHandler]:
        acking = problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.TOO_LARGE)
        return [
            get("/conversations", responses=problems())(self.conversations),
            post("/acks", status_code=204, dto=JsonBody, return_dto=None, responses=acking)(
                self.ack
            ),
        ]

    async def conversations(
        self, request: Asking, device: FromQuery[str] = "main"
    ) -> Conversations:
        """List every conversation one is a member of, with its head and the device's cursor."""
        return Conversations(await self._cases.places.of(request.user, device))

    async def ack(self, request: Asking, data: JSONBody[NewAcks]) -> None:
        """Say for several conversations what is processed on a device: for all of them, or for none."""
        await self._cases.places.ack(request.user, data.acks, device=data.device)


class ConversationRoutes(Routes):
    """One conversation, a group's or a direct line."""

    def __init__(self, cases: UseCases, most: limits.Limits) -> None:
        self._cases = cases
        self._limits = most

    def handlers(self) -> list[HTTPRouteHandler]:
        refusals = problems(ErrorCode.NOT_FOUND, ErrorCode.TOO_LARGE)
        acking = problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.TOO_LARGE)
        return [
            get("/members", responses=refusals)(self.members),
            post("/acks", status_code=204, dto=JsonBody, return_dto=None, responses=acking)(
                self.ack
            ),
            get(
                "/signals",
                dependencies={"conversation": Provide(Reading(self._cases).conversation)},
                responses=problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT),
            )(self.signals),
            post("/signals", status_code=204, dto=JsonBody, return_dto=None, responses=refusals)(
                self.signal
            ),
        ]

    async def members(
        self, request: Asking, conv: Conv, *, after: After = None, limit: Limit = LIMIT
    ) -> Members:
        """List the members, by name: role, whether online, since which seq, and how far they have acked."""
        found = await self._cases.listings.members(request.user, conv, after=after, limit=limit)
        return Members(found)

    async def ack(self, request: Asking, conv: Conv, data: JSONBody[NewAck]) -> None:
        """Say that everything up to ``seq`` is processed on a device. Durable at most a second later."""
        await self._cases.places.ack(request.user, {conv: data.seq}, device=data.device)

    async def signals(self, conversation: Readable) -> LatestSignals:
        """Tell the latest value of each signal of the members, as far as this server remembers it."""
        return LatestSignals(
            [
                SignalRow(value.sender, value.key, bodies.to_json(value.body), value.rev)
                for value in self._cases.signals.last(conversation)
            ]
        )

    async def signal(self, request: Asking, conv: Conv, data: JSONBody[NewSignal]) -> None:
        """Tell the members who are online a value of which only the latest counts; not stored."""
        body = checked_body(data.body, JSON, self._limits)
        work = self._cases.signals.signal(request.user, conv, key=data.key, body=body)
        if work is not None:
            await work
