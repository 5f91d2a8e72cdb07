"""How large and how many: the protocol's limits, told to every client in ``welcome``."""

from typing import Annotated

from msgspec import Meta, Struct

CID_CHARS_MAX = 64
KIND_CHARS_MAX = 32
SIGNAL_KEY_CHARS_MAX = 64
BODY_DEPTH_MAX = 64

_Count = Annotated[int, Meta(ge=1)]


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """The limits a server holds its clients to.

    Attributes:
        body_bytes_max: largest body, in bytes of MessagePack.
        frame_bytes_max: largest frame a client may send, in bytes. The server's frames in MessagePack stay
            within it too, but for a ``welcome``, which takes some 40 to 130 bytes for each conversation of
            its robot; in JSON, where bytes become base64 and characters are escaped, they may take six times
            as much.
        window_max: most events of a conversation in flight to a connection beyond its acks.
        page_max: most events in one ``history`` answer, most rows in one list.
        members_max: most members of one group.
        presence_members_max: groups larger than this get no ``@presence`` signals; ask ``list_members``.
        groups_max: a robot that is in so many conversations creates and joins no further groups; others may
            still add it.
        devices_max: most devices of one robot that are online at a time.
        follows_max: most conversations that one connection receives by ``follow``.
        requests_max: most requests of one connection that wait for their answer; beyond it, reading pauses.
    """

    body_bytes_max: _Count = 256 * 1024
    frame_bytes_max: _Count = 320 * 1024
    window_max: _Count = 65_536
    page_max: _Count = 1_000
    members_max: _Count = 10_000
    presence_members_max: _Count = 1_000
    groups_max: _Count = 20_000
    devices_max: _Count = 256
    follows_max: _Count = 20_000
    requests_max: _Count = 1_024
