"""The settings of the node as a whole, a section of `settings.Settings`, and how addresses are written."""

from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from imserver.protocol.names import clip

_Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class Address(NamedTuple):
    """Where to listen; port 0 asks the system for a free one."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """Take HOST:PORT apart; an IPv6 address stands in brackets.

    Raises:
        ValueError: it is not of that form, or the port is not 0 to 65535.
    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    ipv6_without_brackets = bare == host and ":" in host
    if not (colon and bare and port.isascii() and port.isdecimal() and len(port) <= 5):
        raise ValueError(_address_rule(text))
    if int(port) > 65_535 or ipv6_without_brackets:
        raise ValueError(_address_rule(text))
    return Address(bare, int(port))


def _address_rule(text: str) -> str:
    return f"{clip(text)!r} must be HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:7400"


class ServerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The node as a whole.

    Attributes:
        listen: address for WebSocket and HTTP, HOST:PORT; port 0 takes a free one, IPv6 as [::1]:7400.
        tcp: address for raw TCP, HOST:PORT; empty for none.
        data: data directory, holding the store and the deployment's key; created if missing.
        hello_timeout_s: seconds a new connection has for its handshake and ``hello``.
        ping_interval_s: seconds of silence after which a connection is pinged; closed after as many more.
            Over raw TCP the client has to say something in that time by itself, such as ``ping``.
        drain_timeout_s: seconds that clients get to leave after SIGTERM.
        backlog: connections the system queues before they are accepted.
    """

    listen: str = "127.0.0.1:7400"
    tcp: str = ""
    data: Annotated[str, Meta(min_length=1)] = "./imserver-data"
    hello_timeout_s: _Seconds = 10.0
    ping_interval_s: _Seconds = 25.0
    drain_timeout_s: _Seconds = 10.0
    backlog: Annotated[int, Meta(ge=1, le=65_535)] = 2_048

    def __post_init__(self) -> None:
        for name, text in (("listen", self.listen), ("tcp", self.tcp)):
            try:
                if text or name == "listen":
                    parse_address(text)
            except ValueError as exc:
                raise ValueError(f"server.{name}: {exc}") from None

    @property
    def address(self) -> Address:
        """``listen``, taken apart."""
        return parse_address(self.listen)

    @property
    def tcp_address(self) -> Address | None:
        """``tcp``, taken apart, if there is to be such a port."""
        return parse_address(self.tcp) if self.tcp else None
