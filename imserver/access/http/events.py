"""Events over HTTP: one more in a log, and pages of it."""

from typing import Annotated, Final, Literal, TypeAlias

from litestar import Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, HeaderParameter, JSONBody, QueryParameter

from imserver.access.http.idempotency import cid_of
from imserver.access.http.json_body import JsonBody
from imserver.access.http.openapi import answered_with
from imserver.access.http.poll import Poll
from imserver.access.http.problems import problems
from imserver.access.http.readable import Asking, Conv, Readable, Reading
from imserver.access.http.routes import Routes
from imserver.access.http.shapes import NewEvent, Page, Sent, fields_of, hole, in_json
from imserver.access.http.stays import Stays
from imserver.access.http.visit import session_for, visit_of
from imserver.access.refusals import checked_body
from imserver.access.use_cases import UseCases
from imserver.core.errors import Refusal
from imserver.logic import permissions
from imserver.logic.conversations import Conversation
from imserver.logic.permissions import Operation
from imserver.logic.send import role_of
from imserver.protocol import client_frames as frames
from imserver.protocol import server_frames
from imserver.protocol.codec import JSON
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import SEQ_MAX
from imserver.protocol.limits import Limits

SeqParameter: TypeAlias = Annotated[int | None, QueryParameter(ge=0, le=SEQ_MAX)]
Wait: TypeAlias = Annotated[
    float,
    QueryParameter(
        ge=0, le=86_400, description="seconds to wait for the next event if there is none yet"
    ),
]
_CID: Final = "the event's cid: 1 to 64 characters, new for each event and the same in each retry"
_NO_ID: Final = 0
"""Frames of a session carry a number of the client's; over HTTP the answer is known by its request."""


class EventRoutes(Routes):
    """What can be asked of one conversation's log."""

    def __init__(self, cases: UseCases, limits: Limits, stays: Stays, *, wait_max_s: float) -> None:
        self._cases = cases
        self._limits = limits
        self._stays = stays
        self._wait_max_s = wait_max_s

    def handlers(self) -> list[HTTPRouteHandler]:
        refusals = problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT)
        more = problems(ErrorCode.TOO_LARGE, ErrorCode.UNSUPPORTED)
        again = {200: answered_with(Sent, "It was stored before, at this place.")}
        return [
            post("/events", dto=JsonBody, return_dto=None, responses=again | refusals | more)(
                self.send
            ),
            get(
                "/events",
                dependencies={
                    "conversation": Provide(Reading(self._cases).conversation),
                    "wanted": Provide(wanted_page),
                },
                responses=refusals | more,
            )(self.page),
        ]

    async def send(
        self,
        request: Asking,
        conv: Conv,
        data: JSONBody[NewEvent],
        key: Annotated[str, HeaderParameter(name="Idempotency-Key", description=_CID)],
    ) -> Response[Sent]:
        """Append an event; the answer comes when it is durable. Asking again with the same key is safe."""
        session = request.user
        body = checked_body(data.body, JSON, self._limits)
        frame = frames.Send(id=_NO_ID, conv=conv, cid=cid_of(key), **fields_of(data))
        work = self._cases.sending.send(session, frame, body)
        if work is not None:
            await work
        answer = await visit_of(session).answered()
        if isinstance(answer, server_frames.Error):
            raise Refusal(answer.code, answer.message, retry_after_ms=answer.retry_after)
        assert isinstance(answer, server_frames.Sent), "a send is answered by `sent` or an error"
        sent = Sent(answer.conv, answer.epoch, answer.seq, answer.ts, answer.dup)
        return Response(sent, status_code=200 if answer.dup else 201)

    async def page(
        self,
        request: Asking,
        conversation: Readable,
        wanted: NamedDependency[frames.History],
        wait: Wait = 0.0,
    ) -> Page:
        """Read a page of the log: forwards from ``after``, backwards from ``before``, else its end."""
        if wait and (wanted.after is None or wanted.view != "events"):
            raise Refusal(ErrorCode.BAD_FRAME, "`wait` goes with `after` and the view `events`")
        session, head = request.user, conversation.head
        events = await self._cases.history.read(session, wanted)
        gap = visit_of(session).gap
        # Who is beyond the head waits for nothing: it learns from `seq` that something is wrong.
        is_level = not events and gap is None and (wanted.after or 0) <= conversation.head
        if wait and is_level and wanted.after is not None:
            poll = Poll(wanted.limit)
            await self._poll(request, conversation, poll, after=wanted.after, wait_s=wait)
            events, gap = poll.events, poll.gap
        # Not the head of now: who was removed meanwhile does not learn how the log goes on.
        seen = [event.seq for event in events[-1:]] + ([] if gap is None else [gap.to])
        return Page(
            conversation.name,
            conversation.epoch,
            max([head, *seen]),
            in_json(events),
            None if gap is None else hole(gap),
        )

    async def _poll(
        self, request: Asking, conversation: Conversation, poll: Poll, *, after: int, wait_s: float
    ) -> None:
        caller, sessions = request.user, self._cases.sessions
        session = session_for(caller.warrant, peer=poll)
        with self._stays.holding(request.scope, caller.warrant, poll):
            # The page was read meanwhile, and nobody tells of a removal who does not follow yet.
            permissions.require(role_of(conversation, session), Operation.READ, conversation.name)
            sessions.follow(session, conversation, after)
            try:
                await poll.news(min(wait_s, self._wait_max_s))
            finally:
                sessions.unfollow(session, conversation.name)


async def wanted_page(
    conv: Conv,
    *,
    after: SeqParameter = None,
    before: SeqParameter = None,
    limit: Annotated[int, QueryParameter(ge=1)] = 100,
    view: FromQuery[Literal["events", "messages"]] = "events",
) -> frames.History:
    """Return the page that a request asks for."""
    return frames.History(_NO_ID, conv, after, before, limit, view)
