"""Server frames as the websockets and msgpack packages write them."""

from typing import Any

import msgpack
from websockets.frames import Frame, Opcode

BODY = msgpack.packb("x" * 100)


def server_frame(payload: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    """Return a WebSocket frame as a server sends it."""
    return Frame(opcode, payload).serialize(mask=False)


def event(seq: int, cid: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return an event of the first sender, whose message numbers begin at seq 2."""
    found = {"seq": seq, "ts": 1, "sender": "sender0", "cid": cid or f"sender0-{seq - 2:010d}"}
    return {**found, "kind": "message", "body": msgpack.unpackb(BODY), **fields}


def deliver(*events: dict[str, Any], conv: str = "g/bench") -> bytes:
    """Return a WebSocket frame that delivers events."""
    return server_frame(
        msgpack.packb({"t": "deliver", "conv": conv, "epoch": "e", "events": list(events)})
    )


def sent(number: int, seq: int, *, dup: bool = False) -> bytes:
    """Return a WebSocket frame that answers a send."""
    frame = {"t": "sent", "id": number, "conv": "g/bench", "epoch": "e", "seq": seq, "ts": 1}
    return server_frame(msgpack.packb({**frame, "dup": dup}))
