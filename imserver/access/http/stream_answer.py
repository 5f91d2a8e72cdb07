"""A stream as the answer to a request: its head, then what its outbox holds, until one side has enough."""

from typing import Any

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from imserver.access.http.log_stream import LogStream
from imserver.access.http.problems import HEADERS
from imserver.access.http.stays import Stays

_HEADERS = HEADERS | {"X-Accel-Buffering": "no"}  # else proxies of the nginx kind hold it back


class StreamAnswer(ASGIResponse):
    """Gives a stream; ``cookie`` is set with it, if there is one."""

    _should_set_content_length = False

    def __init__(
        self, stream: LogStream, *, after: int, stays: Stays, media_type: str, cookie: str | None
    ) -> None:
        headers = _HEADERS | ({} if cookie is None else {"Set-Cookie": cookie})
        super().__init__(headers=headers, media_type=media_type)
        self._stream = stream
        self._after = after
        self._stays = stays

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the stream from its begin to its end.

        Raises:
            Refusal: ``rate_limited``; nothing was sent then.
        """
        stream = self._stream
        with self._stays.holding(scope, stream.session.warrant, stream):
            try:
                await self.start_response(send)
                stream.begin(self._after)
                await self._pump(send)
            finally:
                stream.finish()

    async def _pump(self, send: Send) -> None:
        async def write(data: bytes) -> None:
            await send(_body(data, more=True))
            # A server waits for room before it writes, not after: this returns when there is some.
            await send(_body(b"", more=True))

        await self._stream.outbox.pump(write, on_room=self._stream.on_room)
        await send(_body(b"", more=False))


def _body(data: bytes, *, more: bool) -> Any:
    return {"type": "http.response.body", "body": data, "more_body": more}
