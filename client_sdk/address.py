"""From the address of a server to the way to it: WebSockets, or raw TCP."""

from typing import Final
from urllib.parse import SplitResult, urlsplit

from client_sdk.options import Options, websocket_url
from client_sdk.tcp import TcpAddress, TcpConnector
from client_sdk.tls import trust
from client_sdk.transport import Connector
from client_sdk.websocket import WebSocketConnector
from imserver.protocol.codec import Codec

_TCP: Final = ("tcp", "tcps")
_OVER_TLS: Final = ("tcps", "wss", "https")


def check_address(url: str) -> None:
    """Return if ``url`` is the address of a server.

    Raises:
        ValueError: it is not; the text says what would be right.
    """
    parts = urlsplit(url)
    if parts.scheme in _TCP:
        _tcp_address(parts)
    else:
        websocket_url(url)


def connector_to(url: str, codec: Codec, options: Options) -> Connector:
    """Return what connects to the server at ``url``.

    Raises:
        ValueError: as `check_address`, or what is set for TLS cannot be used.
    """
    check_address(url)
    parts, ping_interval_s, deflates = urlsplit(url), options.ping_interval_s, options.deflate
    tls = trust(options) if parts.scheme in _OVER_TLS else None
    if parts.scheme in _TCP:
        address = _tcp_address(parts)
        return TcpConnector(
            address, codec, ping_interval_s=ping_interval_s, tls=tls, deflates=deflates
        )
    return WebSocketConnector(
        websocket_url(url), codec, ping_interval_s=ping_interval_s, tls=tls, deflates=deflates
    )


def _tcp_address(parts: SplitResult) -> TcpAddress:
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or not port or parts.path.rstrip("/") or parts.query or parts.fragment:
        raise ValueError(
            f"server address {parts.scheme}://{parts.hostname or ''} must have a host and a port and "
            "nothing behind them, such as tcp://host:7401"
        )
    if parts.username is not None:
        raise ValueError(
            f"server address {parts.scheme}://{parts.hostname} must have no user; robots prove who they "
            "are by key or bearer token"
        )
    return TcpAddress(parts.hostname, port)
