"""The server's HTTP port, as files need it: one request at a time, in a thread of its own.

By `http.client`, which blocks: bytes go from a file to the socket and back without passing the event loop.
"""

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

from client_sdk.errors import Refused
from client_sdk.options import Options
from client_sdk.tls import Trust, trust
from imserver.protocol.errors import ErrorCode

T = TypeVar("T")

PIECE_BYTES: Final = 128 * 1024
_ANSWER_BYTES_MAX: Final = 1024 * 1024
_SECURE: Final = ("wss", "https")
_PLAIN: Final = ("ws", "http")
_CODES: Final = {
    400: ErrorCode.BAD_FRAME,
    401: ErrorCode.UNAUTHENTICATED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
}


class Cut(Exception):
    """The connection broke, or did not come up; what was on its way may have arrived in part.

    Attributes:
        retry_after_s: how long the server asked to wait, if it did.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Stopped(Exception):
    """Nobody waits for this any more."""


class Reading(Protocol):
    """What takes pieces of an answer's body."""

    def __call__(self, piece: bytes, /) -> None: ...


class Answer(NamedTuple):
    """The head of an answer."""

    status: int
    headers: http.client.HTTPMessage


class Request(NamedTuple):
    """What is asked.

    Attributes:
        source: where the body is read from, as far as ``length``.
        on_sent: told how many bytes of the body were written, again and again.
        take: given the body of an answer that is no refusal, piece by piece.
    """

    method: str
    path: str
    headers: dict[str, str]
    source: BinaryIO | None = None
    length: int = 0
    on_sent: Callable[[int], None] | None = None
    take: Reading | None = None


class Web:
    """Asks one server."""

    def __init__(self, url: str, options: Options) -> None:
        """Take the address.

        Raises:
            ValueError: there is no way from it to HTTP.
        """
        parts = urlsplit(options.http or url)
        if parts.scheme not in (*_SECURE, *_PLAIN) or not parts.hostname:
            raise ValueError(
                f"files go over HTTP, and {parts.scheme or 'this'} is another way: give the address of the "
                "HTTP port as Options(http=…)"
            )
        self._is_secure = parts.scheme in _SECURE
        self._host = parts.hostname
        self._port = parts.port or (443 if self._is_secure else 80)
        self._base = parts.path.rstrip("/").removesuffix("/v1/connect")
        self._timeout_s = options.request_timeout_s
        self._trust: Trust | None = trust(options) if self._is_secure else None

    async def ask(self, request: Request) -> Answer:
        """Ask, and return the answer's head once all is done.

        Raises:
            Cut: the connection broke, or the server is not there now.
            Refused: the server said no.
        """
        stopped = threading.Event()
        try:
            return await asyncio.to_thread(self._ask, request, stopped)
        except asyncio.CancelledError:
            stopped.set()
            raise

    def _ask(self, request: Request, stopped: threading.Event) -> Answer:
        connection = self._connection()
        try:
            self._connect(connection)
            self._write(connection, request, stopped)
            return self._read(connection.getresponse(), request, stopped)
        except (OSError, http.client.HTTPException) as exc:
            raise Cut(str(exc) or type(exc).__name__) from exc
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._trust is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=self._trust.context
        )

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        connection.connect()
        if self._trust is not None:
            secured: Any = connection.sock
            problem = self._trust.problem_of(secured.getpeercert(binary_form=True))
            if problem is not None:
                raise Refused(ErrorCode.UNAUTHENTICATED, problem)

    def _write(
        self, connection: http.client.HTTPConnection, request: Request, stopped: threading.Event
    ) -> None:
        connection.putrequest(request.method, self._base + request.path, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        if request.source is not None:
            connection.putheader("Content-Length", str(request.length))
        connection.endheaders()
        try:
            sent = 0
            for piece in _pieces(request, stopped):
                connection.send(piece)
                sent += len(piece)
                if request.on_sent is not None:
                    request.on_sent(sent)
        except (BrokenPipeError, ConnectionResetError):
            return  # it may have said why before it hung up

    @staticmethod
    def _read(
        response: http.client.HTTPResponse, request: Request, stopped: threading.Event
    ) -> Answer:
        answer = Answer(response.status, response.headers)
        if response.status >= 400:
            raise _refusal(answer, response.read(_ANSWER_BYTES_MAX))
        while request.take is not None and (piece := response.read(PIECE_BYTES)):
            if stopped.is_set():
                raise Stopped
            request.take(piece)
        if request.take is not None and response.length:
            raise Cut("the answer broke off")  # http.client says nothing of it
        return answer


def _pieces(request: Request, stopped: threading.Event) -> Iterator[bytes]:
    left = request.length
    while request.source is not None and left > 0:
        if stopped.is_set():
            raise Stopped
        piece = request.source.read(min(PIECE_BYTES, left))
        if not piece:
            raise ValueError("the file became shorter while it was sent")
        left -= len(piece)
        yield piece


def _refusal(answer: Answer, body: bytes) -> Exception:
    try:
        problem: Any = json.loads(body)
        code, message = ErrorCode(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        # To HEAD it says no more than a status; so does a proxy that finds no server.
        told = _CODES.get(answer.status)
        text = f"the server answered {answer.status}"
        return Cut(text) if told is None else Refused(told, text)
    retry_after_ms = problem.get("retry_after")
    if answer.status in (409, 423, 429, 503):
        return Cut(message, None if retry_after_ms is None else retry_after_ms / 1_000)
    return Refused(code, message, retry_after_ms)
