"""How a robot proves who it is: what it signs, and what its certificate says. Proving happens elsewhere."""

from typing import Final

ROBOT_URI: Final = "imserver:robot:"
"""What a robot's name stands behind in the URIs of a client's certificate."""


def signed_text(*, server: str, nonce: str, robot: str, device: str) -> bytes:
    """Return the bytes under the Ed25519 signature (RFC 8032) of ``prove``.

    They bind the signature to this deployment, this connection's nonce, and the name and device claimed.
    """
    return f"imserver.v1 {server} {nonce} {robot} {device}".encode()


def rotation_text(*, server: str, session: str, robot: str, old: bytes, new: bytes) -> bytes:
    """Return the bytes under both signatures of ``rotate_key``.

    They bind the rotation to this deployment and to one session, so that it cannot be shown again elsewhere.
    """
    return f"imserver.v1 rotate {server} {session} {robot} {old.hex()} {new.hex()}".encode()
