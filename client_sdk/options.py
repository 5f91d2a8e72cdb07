"""How a robot behaves: the knobs that have a good default, and how its address is read."""

import ssl
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from msgspec import Meta, Struct

_Seconds = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(ge=1)]

PATH = "/v1/connect"
_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


class Options(Struct, frozen=True, kw_only=True):
    """The knobs of a `Robot`.

    Attributes:
        codec: how frames are written; ``json`` is for reading by eye.
        auto: receive all conversations of the robot; if false, only those it asks for by `follow`.
        window: most events of a conversation that are on their way or queued here, not processed.
        connect_timeout_s: how long entering the context waits until the robot is online.
        open_timeout_s: how long one attempt to connect and to be welcomed may take.
        request_timeout_s: deadline of requests other than sends.
        ping_interval_s: silence after which the server is pinged; after twice as long it counts as dead.
        backoff_base_s: the first wait before a new attempt is up to this long; it doubles each time.
        backoff_cap_s: no wait before a new attempt is longer, unless the server asked for it.
        waiting_max: most sends that may wait in the robot's memory; beyond it they are refused at once.
        waiting_bytes_max: the same in bytes.
        signals_max: most unread signals that are kept; beyond it the one unread longest is dropped.
        deflate: ask the server to compress larger frames, and compress one's own: for thin lines.
        frame_bytes_max: largest frame accepted from a server that has not yet told its own limit.
        server: id of the deployment, to be sure that it is the right one; any if None.
        ca: file of certificates of authorities that vouch for the server, in PEM; the system's if None.
        pin: SHA-256 of the server's certificate, in hex; then it has to be this one. Without ``ca``, no
            authority is asked.
        client_cert, client_key: files of a certificate that names the robot, and its key, in PEM.
        http: address of the server's HTTP port, for files, where ``url`` is of raw TCP.
        tls: context for TLS in place of one made of ``ca``, ``client_cert`` and ``client_key``.
    """

    codec: Literal["msgpack", "json"] = "msgpack"
    auto: bool = True
    window: _Count = 1024
    connect_timeout_s: _Seconds = 30.0
    open_timeout_s: _Seconds = 10.0
    request_timeout_s: _Seconds = 30.0
    ping_interval_s: _Seconds = 20.0
    backoff_base_s: _Seconds = 0.2
    backoff_cap_s: _Seconds = 10.0
    waiting_max: _Count = 10_000
    waiting_bytes_max: _Count = 64 * 1024 * 1024
    signals_max: _Count = 4096
    deflate: bool = False
    frame_bytes_max: _Count = 4 * 1024 * 1024
    server: str | None = None
    ca: str | Path | None = None
    pin: str | None = None
    client_cert: str | Path | None = None
    client_key: str | Path | None = None
    http: str | None = None
    tls: ssl.SSLContext | None = None


def websocket_url(url: str) -> str:
    """Return the WebSocket's URL for the address of a server.

    ``http`` and ``https`` become ``ws`` and ``wss``, and ``/v1/connect`` is added.

    Raises:
        ValueError: it is not an address of a server; the text says what would be right.
    """
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(
            f"server address {url!r} must look like http://host:7400, https://host (ws and wss "
            "do as well) or tcp://host:7401"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            f"server address {parts.scheme}://{parts.hostname} must have no user, query or fragment; "
            "robots prove who they are by key or bearer token"
        )
    path = parts.path.rstrip("/")
    if not path.endswith(PATH):
        path += PATH
    return urlunsplit((scheme, parts.netloc, path, "", ""))
