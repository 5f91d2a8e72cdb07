"""Whom a robot believes: the certificates of servers, and its own.

A server is believed if its certificate is good for its name and an authority of the system's, or of
`Options.ca`, vouches for it. With `Options.pin` it must be the one certificate of that SHA-256, and then no
authority is asked unless one is named: a pin is good for servers that nobody vouches for.
"""

import asyncio
import hashlib
import hmac
import re
import ssl
from typing import Final, NamedTuple

from client_sdk.options import Options

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Trust(NamedTuple):
    """What a connection over TLS is made with, and what is looked at when it is there."""

    context: ssl.SSLContext
    pin: str | None

    def problem_with(self, transport: asyncio.BaseTransport) -> str | None:
        """Return why the server is not the one that is pinned, or None."""
        peer: ssl.SSLObject = transport.get_extra_info("ssl_object")
        return self.problem_of(None if self.pin is None else peer.getpeercert(binary_form=True))

    def problem_of(self, certificate: bytes | None) -> str | None:
        """Return why a server that shows this certificate is not the one that is pinned, or None."""
        if self.pin is None:
            return None
        shown = hashlib.sha256(certificate or b"").hexdigest()
        if hmac.compare_digest(shown, self.pin):
            return None
        return f"the server's certificate has the SHA-256 {shown}, not the one that is pinned"


def trust(options: Options) -> Trust:
    """Return whom a robot with these options believes.

    Raises:
        ValueError: a file or the pin cannot be used; the text says what would be right.
    """
    pin = _pin(options.pin) if options.pin is not None else None
    if options.tls is not None:
        return Trust(options.tls, pin)
    try:
        context = ssl.create_default_context(cafile=options.ca)
    except (OSError, ValueError) as exc:
        raise ValueError(f"ca {options.ca} must be a file of certificates in PEM: {exc}") from None
    if pin is not None and options.ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # what it would verify is less than the pin says
    if options.client_cert is not None:
        try:
            context.load_cert_chain(options.client_cert, options.client_key)
        except (OSError, ValueError) as exc:
            raise ValueError(
                f"client_cert {options.client_cert} and client_key must be a certificate and its key, in "
                f"PEM: {exc}"
            ) from None
    return Trust(context, pin)


def _pin(text: str) -> str:
    pin = text.replace(":", "").lower()
    if not _SHA256.fullmatch(pin):
        raise ValueError("pin must be the SHA-256 of the server's certificate in hex, 64 digits")
    return pin
