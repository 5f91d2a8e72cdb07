"""Answers to requests whose body is far from over: the last ones on their connection.

A request can be refused by its head alone. What then still comes of its body must be read and dropped
before the next request; is that too much, the connection ends instead. The answer announces that (RFC 9112,
section 9.6), since a client that does not know sends its next request into a connection that ends.
"""

from typing import Any, Final, Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

LINK: Final = "imserver.link"
"""Where a request's scope names its link."""

SURPLUS_BYTES_MAX: Final = 1024 * 1024
"""So much of a body is dropped after its request was answered; with more to come the connection ends."""


class _Link(Protocol):
    cycle: RequestResponseCycle
    headers: list[tuple[bytes, bytes]]
    body_bytes: int

    @property
    def is_over(self) -> bool: ...

    def end(self) -> None: ...


class LastAnswers:
    """The application, and the end of a connection where it must come."""

    __slots__ = ("_app",)

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        link: _Link = scope[LINK]
        is_last = False

        async def answer(message: Any) -> None:
            nonlocal is_last
            if message["type"] == "http.response.start" and _must_end(link, scope):
                is_last = True
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                await send({**message, "headers": headers})
                # Closed by uvicorn, it would be reset by what still comes, and the client not see the answer.
                link.cycle.keep_alive = True
            else:
                await send(message)
            if is_last and message["type"] == "http.response.body" and not message.get("more_body"):
                _end(link)

        await self._app(scope, receive, answer)


def _must_end(link: _Link, scope: Any) -> bool:
    """Tell whether what is left of a request's body is too much to be dropped, or may never come."""
    cycle = link.cycle
    if cycle.scope is not scope or not cycle.more_body:
        return False
    length = dict(link.headers).get(b"content-length")
    is_much = length is None or int(length) - link.body_bytes > SURPLUS_BYTES_MAX
    return is_much or cycle.waiting_for_100_continue


def _end(link: _Link) -> None:
    if not link.is_over:
        link.end()
