"""What a good refusal is: the right code, and a message for people that tells nothing of the inside."""

from typing import Any

import msgpack

from tests.e2e.wire import Frame, Peer

_INSIDE = ("Traceback", 'File "', "msgspec", ".py", "object at 0x", "site-packages", "SQL")


class Raw(bytes):
    """MessagePack that is put into a frame as it is."""


def packed(fields: dict[str, Any]) -> bytes:
    """Return a map in MessagePack by hand, so that it may hold what no library would write."""
    parts = [bytes([0x80 | len(fields)])]
    for key, value in fields.items():
        parts += [msgpack.packb(key), value if isinstance(value, Raw) else msgpack.packb(value)]
    return b"".join(parts)


async def error_to(peer: Peer, message: bytes | str) -> Frame:
    """Send a raw message and return the error it gets."""
    await peer.socket.send(message)
    while True:
        frame = await peer.read()
        if frame["t"] == "error":
            return frame
        assert frame["t"] in {"signal", "deliver"}, f"accepted: {frame}"


def assert_refused(error: Frame, code: str | set[str], *hints: str) -> None:
    """Assert that an error has a code, and says what would be right in words that hold ``hints``."""
    codes = {code} if isinstance(code, str) else code
    assert error["t"] == "error", error
    assert error["code"] in codes, error
    message = error["message"]
    assert len(message) >= 12, f"says too little: {message!r}"
    assert len(message) <= 1_000, "says too much"
    assert not [word for word in _INSIDE if word in message], f"tells of the inside: {message}"
    for hint in hints:
        assert hint.lower() in message.lower(), f"{hint!r} is not in: {message}"


async def assert_still_open(peer: Peer) -> None:
    """Assert that one offence did not cost the session."""
    assert (await peer.request("ping"))["t"] == "pong"
