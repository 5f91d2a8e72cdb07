"""How a part of a log stands in a cache, so that nothing but what this deployment put there is believed.

A log is cut into blocks of `BLOCK_EVENTS` places. A value holds a run of consecutive events of one block, not
always all of them, behind a keyed digest over the run and where it belongs: conversation, epoch and block.
Whatever is cut short, changed, written by another version, by another deployment, or put in another place
does not fit its digest, and counts as not there.
"""

import hashlib
import hmac
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName

BLOCK_EVENTS: Final = 16
BLOCK_BYTES_MAX: Final = 256 * 1024
"""Larger runs are not kept: so large events make pages of few, which the store reads as quickly."""

VERSION: Final = b"\x01"
_DIGEST_BYTES: Final = 16
_BEGIN: Final = len(VERSION) + _DIGEST_BYTES

_encode = msgspec.msgpack.Encoder().encode
_Row: TypeAlias = tuple[int, int, str, str, str, bytes, int | None]
_decode = msgspec.msgpack.Decoder(list[_Row]).decode


class Place(Struct, frozen=True, array_like=True):
    """Where a block belongs."""

    conv: ConversationName
    epoch: str
    block: int

    @property
    def name(self) -> str:
        """What it is kept by, beside the conversation."""
        return f"{self.epoch}:{self.block}"


def block_of(seq: int) -> int:
    """Return the block that the place ``seq`` of a log belongs to."""
    return (seq - 1) // BLOCK_EVENTS


def seal(place: Place, run: list[Event], *, secret: bytes) -> bytes | None:
    """Return a run of a block as it is kept, or None if it is too large."""
    payload = _encode([_row(event) for event in run])
    if len(payload) > BLOCK_BYTES_MAX:
        return None
    return VERSION + _digest(place, payload, secret) + payload


def unseal(place: Place, value: bytes, *, secret: bytes) -> list[Event] | None:
    """Return the run that is kept in ``value``, or None if that is not what was put in this place."""
    digest, payload = value[len(VERSION) : _BEGIN], value[_BEGIN:]
    if not value.startswith(VERSION):
        return None
    if not hmac.compare_digest(digest, _digest(place, payload, secret)):
        return None
    rows: list[_Row] = _decode(payload)
    return [
        Event(seq, ts, sender, cid, kind, Raw(body), ref)
        for seq, ts, sender, cid, kind, body, ref in rows
    ]


def joined(old: list[Event], new: list[Event]) -> list[Event]:
    """Return one run of what two runs of a block have: of both, or of the new one if there is a hole
    between."""
    if not old or old[0].seq > new[-1].seq + 1 or new[0].seq > old[-1].seq + 1:
        return new
    by_seq = {event.seq: event for event in [*old, *new]}
    return [by_seq[seq] for seq in sorted(by_seq)]


def _row(event: Event) -> _Row:
    body = bytes(event.body)
    return (event.seq, event.ts, event.sender, event.cid, event.kind, body, event.ref)


def _digest(place: Place, payload: bytes, secret: bytes) -> bytes:
    where = _encode(place)
    digest = hashlib.blake2b(key=secret, digest_size=_DIGEST_BYTES)
    digest.update(len(where).to_bytes(4, "big") + where)
    digest.update(payload)
    return digest.digest()
