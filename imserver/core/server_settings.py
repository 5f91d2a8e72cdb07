"""The settings of the node as a whole, a section of `settings.Settings`, and how addresses are written."""

from ipaddress import ip_address
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from imserver.protocol.names import clip

_Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class Address(NamedTuple):
    """Where to listen; port 0 asks the system for a free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it; a name other than localhost counts as outside."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


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
        tls_cert: file with the certificate of this server, and those that vouch for it, in PEM. With it every
            port speaks TLS; it is read again on SIGHUP.
        tls_key: file with its private key, in PEM, not encrypted.
        tls_client_ca: file with certificates of authorities, in PEM, that vouch for clients: a robot whose
            certificate names it needs no other proof.
        tls_client_certs: whether a client must show such a certificate to be let in, or may.
        insecure: let addresses other than loopback be listened on without TLS.
        data: data directory, holding the store and the deployment's key; created if missing.
        key: file with the deployment's signing key, in PEM, such as a secret of a container engine; empty for
            ``server.key`` in the data directory, where it is made the first time.
        hello_timeout_s: seconds a new connection has for its handshake and ``hello``.
        ping_interval_s: seconds of silence after which a connection is pinged; closed after as many more.
            Over raw TCP the client has to say something in that time by itself, such as ``ping``.
        drain_timeout_s: seconds that clients get to leave after SIGTERM.
        backlog: connections the system queues before they are accepted.
    """

    listen: str = "127.0.0.1:7400"
    tcp: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    tls_client_certs: Literal["optional", "required"] = "optional"
    insecure: bool = False
    data: Annotated[str, Meta(min_length=1)] = "./imserver-data"
    key: str = ""
    hello_timeout_s: _Seconds = 10.0
    ping_interval_s: _Seconds = 25.0
    drain_timeout_s: _Seconds = 10.0
    backlog: Annotated[int, Meta(ge=1, le=65_535)] = 1_024

    def __post_init__(self) -> None:
        for name, text in (("listen", self.listen), ("tcp", self.tcp)):
            try:
                if text or name == "listen":
                    parse_address(text)
            except ValueError as exc:
                raise ValueError(f"server.{name}: {exc}") from None
        self._check_tls()

    @property
    def address(self) -> Address:
        """``listen``, taken apart."""
        return parse_address(self.listen)

    @property
    def tcp_address(self) -> Address | None:
        """``tcp``, taken apart, if there is to be such a port."""
        return parse_address(self.tcp) if self.tcp else None

    @property
    def with_tls(self) -> bool:
        """Whether the ports speak TLS."""
        return bool(self.tls_cert)

    def _check_tls(self) -> None:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("server.tls_cert and server.tls_key go together: set both or none")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError(
                "server.tls_client_ca needs TLS: set server.tls_cert and server.tls_key"
            )
        if self.tls_client_certs == "required" and not self.tls_client_ca:
            raise ValueError(
                "server.tls_client_certs: clients can be required to show certificates only with "
                "server.tls_client_ca, which says whose are good"
            )
        for name, address in (("listen", self.address), ("tcp", self.tcp_address)):
            if address and not (address.is_loopback or self.with_tls or self.insecure):
                raise ValueError(
                    f"server.{name}: {clip(address.host)} can be reached from outside, where tokens and "
                    "messages must not travel as plain text: set server.tls_cert and server.tls_key "
                    "(`imserver cert` makes some for trials), or say --insecure"
                )
