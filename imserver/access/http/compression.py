"""Compressed answers, and requests whose bodies come compressed.

An answer that is there as a whole is compressed if its client takes that and it is large enough; what is
given piece by piece (streams, files) goes out as it is: what a compressor holds back would come too late.
"""

import asyncio
from typing import Any, Final

from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.types import ASGIApp, Receive, Scope, Send

from imserver.access.http import codings
from imserver.access.http.codings import Decoder
from imserver.core.errors import Refusal
from imserver.protocol.deflate import BadDeflate, InflatedTooLarge, longest_deflated
from imserver.protocol.errors import ErrorCode

_BESIDE_BYTES_MIN: Final = 64 * 1024
"""More than that is compressed beside the loop, which takes a millisecond and more."""

_TEXTS: Final = ("application/json", "application/problem+json", "application/vnd.oai", "text/")
_STREAM: Final = "text/event-stream"


class CompressedAnswers:
    """Compresses what the application answers; ``bytes_min`` None: nothing."""

    def __init__(self, app: ASGIApp, bytes_min: int | None) -> None:
        self._app = app
        self._bytes_min = bytes_min

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        if self._bytes_min is None:
            await self._app(scope, receive, send)
            return
        coding = codings.chosen(Headers.from_scope(scope).get("accept-encoding", ""))
        answer = _Answer(send, coding, self._bytes_min)
        await self._app(scope, receive, answer.send)


class _Answer:
    """One answer on its way out."""

    def __init__(self, send: Send, coding: str | None, bytes_min: int) -> None:
        self._send = send
        self._coding = coding
        self._bytes_min = bytes_min
        self._start: Any = None

    async def send(self, message: Any) -> None:
        """Take a part of the answer: its head waits for the first piece of the body."""
        if message["type"] == "http.response.start":
            if _is_text(MutableScopeHeaders.from_message(message)):
                self._start = message
                return
        elif self._start is not None and message["type"] == "http.response.body":
            start, self._start = self._start, None
            headers = MutableScopeHeaders.from_message(start)
            headers.extend_header_value("vary", "Accept-Encoding")
            if not message.get("more_body"):
                message = message | {"body": await self._coded(message.get("body", b""), headers)}
            await self._send(start)
        await self._send(message)

    async def _coded(self, content: bytes, headers: MutableScopeHeaders) -> bytes:
        if self._coding is None or len(content) < self._bytes_min:
            return content
        if len(content) < _BESIDE_BYTES_MIN:
            coded = codings.encoded(self._coding, content)
        else:
            coded = await asyncio.to_thread(codings.encoded, self._coding, content)
        if len(coded) >= len(content):
            return content
        headers["content-encoding"] = self._coding
        headers["content-length"] = str(len(coded))
        return coded


def _is_text(headers: MutableScopeHeaders) -> bool:
    kind = headers.get("content-type", "")
    is_whole = "content-encoding" not in headers and "etag" not in headers
    return is_whole and kind.startswith(_TEXTS) and not kind.startswith(_STREAM)


def decoding(receive: Receive, coding: str, *, bytes_max: int) -> Receive:
    """Return a ``receive`` that gives a request's body without its coding.

    It raises `Refusal`: ``too_large`` if more than ``bytes_max`` bytes come out, ``bad_frame`` if the body is
    not in this coding.
    """
    decoder = Decoder(coding, bytes_max=bytes_max, coded_bytes_max=longest_deflated(bytes_max))

    async def receive_decoded() -> Any:
        message: Any = await receive()
        if message["type"] != "http.request":
            return message
        try:
            content = decoder.feed(message.get("body", b""))
            if not message.get("more_body"):
                decoder.check_ended()
        except InflatedTooLarge:
            text = (
                f"the body must not have more than {bytes_max} bytes, also when it is decompressed"
            )
            raise Refusal(ErrorCode.TOO_LARGE, text) from None
        except BadDeflate as exc:
            raise Refusal(ErrorCode.BAD_FRAME, f"{exc}: send it again, or without coding") from None
        return message | {"body": content}

    return receive_decoded
