"""Streams over HTTP: the route, what a client can want of it, and tickets for browsers."""

import random
from http import HTTPStatus
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from litestar import get, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, HeaderParameter, QueryParameter

from imserver.access.http.callers import BY_TICKET, cookie_for
from imserver.access.http.forms import FORMS, StreamForm
from imserver.access.http.log_stream import LogStream, Policy, Wanted
from imserver.access.http.outbox import Outbox
from imserver.access.http.problems import problems
from imserver.access.http.readable import Asking, Conv, Readable, Reading
from imserver.access.http.routes import Routes
from imserver.access.http.shapes import NewTicket
from imserver.access.http.stays import Stays
from imserver.access.http.stream_answer import StreamAnswer
from imserver.access.use_cases import UseCases
from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.logic.tickets import Grant
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import SEQ_MAX

LATEST: Final = "latest"
RETRY_MS: Final = (500, 1_500)
"""When browsers come back if the connection fails: not all at the same moment."""

_After: TypeAlias = Annotated[
    int | Literal["latest"] | None,
    QueryParameter(
        description="begin after this seq, or with what comes from now on; else with the first event"
    ),
]
_LastEventId: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name="Last-Event-ID",
        description="the last id that was seen: begin after it, whatever `after` says",
    ),
]
_Ticket: TypeAlias = Annotated[
    str | None, QueryParameter(description="a ticket instead of `Authorization`")
]


class Choice(NamedTuple):
    """Where a stream begins and what it brings."""

    after: int | None
    policy: Policy
    signals: bool


async def choice(
    *,
    after: _After = None,
    last_event_id: _LastEventId = None,
    policy: FromQuery[Policy] = Policy.BUFFER,
    signals: FromQuery[bool] = False,
) -> Choice:
    """Return what a request wants; ``after`` is None for what comes from now on.

    Raises:
        Refusal: ``bad_frame``.
    """
    if isinstance(after, int) and not 0 <= after <= SEQ_MAX:
        raise Refusal(ErrorCode.BAD_FRAME, f"`after` must be a seq, 0 to {SEQ_MAX}, or `{LATEST}`")
    if not last_event_id:
        return Choice(None if after == LATEST else after or 0, policy, signals)
    if not (
        last_event_id.isascii() and last_event_id.isdecimal() and int(last_event_id) <= SEQ_MAX
    ):
        raise Refusal(ErrorCode.BAD_FRAME, "`Last-Event-ID` must be the seq of an event")
    return Choice(int(last_event_id), policy, signals)


class Rules(NamedTuple):
    """How streams are given on this node.

    Attributes:
        heartbeat_s: seconds of silence after which a client is told that its stream is there.
        buffer_bytes_max: bytes that may wait for one client.
    """

    heartbeat_s: float
    buffer_bytes_max: int


class StreamRoutes(Routes):
    """The live log of one conversation."""

    def __init__(
        self,
        cases: UseCases,
        stays: Stays,
        *,
        rules: Rules,
        clock: Clock,
        dice: random.Random,
    ) -> None:
        self._cases = cases
        self._stays = stays
        self._rules = rules
        self._clock = clock
        self._dice = dice

    def handlers(self) -> list[HTTPRouteHandler]:
        refusals = problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT) | {
            int(HTTPStatus.NOT_ACCEPTABLE): problems()[HTTPStatus.BAD_REQUEST]
        }
        conversation = Provide(Reading(self._cases).conversation)
        return [
            get(
                "/events/stream",
                dependencies={"conversation": conversation, "chosen": Provide(choice)},
                opt={BY_TICKET: True},
                responses=refusals | {200: _STREAM},
            )(self.stream),
            post(
                "/tickets",
                dependencies={"conversation": conversation},
                responses=problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT),
            )(self.ticket),
        ]

    async def stream(
        self,
        request: Asking,
        conversation: Readable,
        chosen: NamedDependency[Choice],
        ticket: _Ticket = None,
    ) -> StreamAnswer:
        """Follow the log: what is there behind ``after``, then live, with no seam.

        As server-sent events ``id`` is the seq and ``data`` the event, so that ``Last-Event-ID`` resumes;
        with ``Accept: application/x-ndjson`` each event is a line of JSON.
        """
        caller, grant, cookie = request.user, request.auth, None
        if isinstance(grant, Grant):
            if grant.conv != conversation.name:
                text = f"this ticket opens {grant.conv}, not {conversation.name}"
                raise Refusal(ErrorCode.UNAUTHENTICATED, text)
            cookie = cookie_for(request, ticket or "", grant, now_ms=self._clock.now_ms())
        form = _form(request)
        wanted = Wanted(
            form,
            chosen.policy,
            chosen.signals,
            heartbeat_s=self._rules.heartbeat_s,
            expires_ms=grant.expires_ms,
            retry_ms=self._dice.randint(*RETRY_MS),
        )
        keeps_nothing = chosen.policy is Policy.MISSING
        stream = LogStream(
            caller,
            conversation,
            wanted,
            sessions=self._cases.sessions,
            outbox=Outbox(0 if keeps_nothing else self._rules.buffer_bytes_max),
            metrics=self._stays.metrics,
            clock=self._clock,
        )
        after = conversation.head if chosen.after is None else chosen.after
        return StreamAnswer(
            stream, after=after, stays=self._stays, media_type=form.media_type, cookie=cookie
        )

    async def ticket(self, request: Asking, conv: Conv, conversation: Readable) -> NewTicket:
        """Get a ticket for one stream, for a browser's EventSource, which sends no ``Authorization``."""
        expires_ms = request.auth.expires_ms
        ticket, until_ms = await self._cases.tickets.issue(
            request.user, conv, expires_ms=expires_ms
        )
        path = request.url.path.removesuffix("/tickets")
        return NewTicket(ticket, until_ms, f"{path}/events/stream?ticket={ticket}")


def _form(request: Asking) -> StreamForm:
    """Return the form that the client would rather have.

    Raises:
        HTTPException: 406, it wants none.
    """
    names = [form.media_type for form in FORMS]
    chosen = request.accept.best_match(names)
    for form in FORMS:
        if form.media_type == chosen:
            return form
    raise HTTPException(
        detail=f"a stream can be had as {' or '.join(names)}; say so in `Accept`",
        status_code=HTTPStatus.NOT_ACCEPTABLE,
    )


_STREAM: Final = ResponseSpec(
    str,
    generate_examples=False,
    description="The stream; `application/x-ndjson` if that was asked for.",
    media_type="text/event-stream",
)
