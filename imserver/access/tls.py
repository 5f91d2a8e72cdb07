"""TLS for every port: the server's certificate, read again when asked, and the names in clients' ones.

A new certificate is for new connections. Those that are open keep the one they began with, so that nobody is
cut off; and one that cannot be used changes nothing.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from imserver.access.door import NEVER, Door
from imserver.core.errors import InvalidSettings
from imserver.core.server_settings import ServerSettings
from imserver.protocol.proof import ROBOT_URI

SHUTDOWN_TIMEOUT_S: Final = 5.0
_NOBODY: Final[frozenset[str]] = frozenset()  # one for all connections that show no certificate

_log: Final = logging.getLogger("imserver.tls")


class Certificates:
    """The certificate in force.

    Attributes:
        context: for connections that begin now.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Read the files.

        Raises:
            InvalidSettings: they cannot be used; the text names the file and says why.
        """
        self._settings = settings
        self.context = _context(settings)

    def reload(self) -> None:
        """Read the files again; if they cannot be used, the certificate stays as it was."""
        try:
            self.context = _context(self._settings)
        except InvalidSettings as exc:
            _log.error("tls.not_reloaded", extra={"reason": str(exc)})


class Handshakes:
    """Takes connections through the TLS handshake, no more than the door has room for."""

    def __init__(self, certificates: Certificates, door: Door, *, timeout_s: float) -> None:
        self._certificates = certificates
        self._door = door
        self._timeout_s = timeout_s

    async def attach(self, make: Callable[[], asyncio.Protocol], connection: socket.socket) -> None:
        """Hand a connection over to a protocol once it is through.

        Raises:
            OSError: it is not, and why.
        """
        stranger = _Stranger()
        if not self._door.enter_visitor(stranger, connection.getpeername()[0]):
            connection.close()
            return
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                make,
                connection,
                ssl=self._certificates.context,
                ssl_handshake_timeout=self._timeout_s,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            )
        finally:
            self._door.leave_visitor(stranger)


class _Stranger:
    """A connection in its handshake, which has a deadline of its own, among the visitors."""

    look_at = NEVER

    def check_deadline(self) -> None:
        """Leave it to the handshake."""


def names_in(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the robots that a verified certificate names: by its alternative names, ``DNS:r1`` or
    ``URI:imserver:robot:r1``, or if it has none by its common name.

    ``certificate`` is as `ssl.SSLSocket.getpeercert` gives it.
    """
    if not certificate:
        return _NOBODY
    alternative = certificate.get("subjectAltName", ())
    if not alternative:
        return frozenset(_common_names(certificate.get("subject", ())))
    names = {value for kind, value in alternative if kind == "DNS"}
    uris = [value for kind, value in alternative if kind == "URI"]
    return frozenset(names | {uri[len(ROBOT_URI) :] for uri in uris if uri.startswith(ROBOT_URI)})


def _common_names(subject: Iterable[Iterable[tuple[str, str]]]) -> Iterable[str]:
    return (value for part in subject for key, value in part if key == "commonName")


def _context(settings: ServerSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would go on with a certificate that may have been withdrawn.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=_no_password)
        own = x509.load_pem_x509_certificate(Path(settings.tls_cert).read_bytes())
    except (OSError, ValueError) as exc:
        raise InvalidSettings(
            f"server.tls_cert and server.tls_key: {settings.tls_cert} and {settings.tls_key} must be a "
            f"certificate and its key, in PEM and not encrypted: {exc}"
        ) from None
    if settings.tls_client_ca:
        _ask_for_certificates(context, settings)
    facts = {"sha256": own.fingerprint(SHA256()).hex(), "until": str(own.not_valid_after_utc)}
    _log.info("tls.certificate", extra=facts)
    return context


def _ask_for_certificates(context: ssl.SSLContext, settings: ServerSettings) -> None:
    try:
        context.load_verify_locations(settings.tls_client_ca)
    except (OSError, ValueError) as exc:
        raise InvalidSettings(
            f"server.tls_client_ca: {settings.tls_client_ca} must hold certificates in PEM: {exc}"
        ) from None
    is_required = settings.tls_client_certs == "required"
    context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL


def _no_password() -> NoReturn:
    raise ValueError("the key is encrypted")
