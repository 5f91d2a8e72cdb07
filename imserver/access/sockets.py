"""Listening sockets, and how their addresses are written."""

import socket

from imserver.core.server_settings import Address


def listening(address: Address, *, backlog: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        OSError: it cannot be opened; its ``filename`` is the address.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=backlog)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, written(*address)) from exc


def written(host: str, port: int) -> str:
    """Return an address as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
