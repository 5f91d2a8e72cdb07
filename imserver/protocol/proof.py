"""What a robot signs to prove who it is. Signing and verifying themselves happen elsewhere."""


def signed_text(*, server: str, nonce: str, robot: str, device: str) -> bytes:
    """Return the bytes under the Ed25519 signature (RFC 8032) of ``prove``.

    They bind the signature to this deployment, this connection's nonce, and the name and device claimed.
    """
    return f"imserver.v1 {server} {nonce} {robot} {device}".encode()
