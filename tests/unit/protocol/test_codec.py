"""Every frame through both codecs, read again by us and by libraries that share no code with us."""

import base64
import contextlib
import json
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct, structs

from imserver.protocol import client_frames as client
from imserver.protocol.codec import (
    BY_SUBPROTOCOL,
    JSON,
    MSGPACK,
    SUBPROTOCOL_JSON,
    SUBPROTOCOL_MSGPACK,
    Codec,
    InvalidFrame,
)
from imserver.protocol.events import Event
from imserver.protocol.packed_events import array, pack
from imserver.protocol.server_frames import Deliver, Gap, Ok, PackedDeliver, SignalValue
from tests.unit.protocol.frame_strategies import CLIENT_FRAMES, SERVER_FRAMES, frames

CODECS = pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
quickly = settings(max_examples=12, deadline=None)


def each(kinds: tuple[type[Struct], ...]) -> Any:
    return pytest.mark.parametrize("kind", kinds, ids=[kind.__name__ for kind in kinds])


def read_by_others(codec: Codec, message: bytes) -> Any:
    if codec.binary:
        return msgpack.unpackb(message, raw=False, strict_map_key=False)
    return json.loads(message)


def as_told(value: Any, *, binary: bool) -> Any:
    """Return what another reader must find for a value in a frame."""
    match value:
        case Struct():
            return as_fields(value, binary=binary)
        case Raw():
            return msgspec.msgpack.decode(value)
        case bytes() if not binary:
            return base64.b64encode(value).decode()
        case dict():
            return {key: as_told(item, binary=binary) for key, item in value.items()}
        case list():
            return [as_told(item, binary=binary) for item in value]
    return value


def as_fields(frame: Struct, *, binary: bool) -> dict[str, Any]:
    told: dict[str, Any] = {}
    config = frame.__struct_config__
    if config.tag is not None:
        told["t"] = config.tag
    for field in structs.fields(frame):
        value = getattr(frame, field.name)
        if config.omit_defaults and value == field.default:
            continue
        factory = field.default_factory
        if config.omit_defaults and factory is not msgspec.NODEFAULT and value == factory():
            continue
        told[field.encode_name] = as_told(value, binary=binary)
    return told


@CODECS
@each(SERVER_FRAMES)
@quickly
@given(data=st.data())
def test_what_the_server_encodes_other_libraries_read(
    codec: Codec, kind: type[Struct], data: st.DataObject
) -> None:
    frame = data.draw(frames(kind))
    assert read_by_others(codec, codec.encode(frame)) == as_fields(frame, binary=codec.binary)


@each(SERVER_FRAMES)
@quickly
@given(data=st.data())
def test_what_the_server_encodes_in_messagepack_decodes_to_the_same_frame(
    kind: type[Struct], data: st.DataObject
) -> None:
    frame = data.draw(frames(kind))
    again = MSGPACK.decode_server(MSGPACK.encode(frame))
    assert MSGPACK.encode(again) == MSGPACK.encode(frame)
    assert type(again) is kind


@each(SERVER_FRAMES)
@quickly
@given(data=st.data())
def test_what_the_server_encodes_in_json_decodes_to_a_frame_with_the_same_bodies(
    kind: type[Struct], data: st.DataObject
) -> None:
    frame = data.draw(frames(kind))
    again = JSON.decode_server(JSON.encode(frame))
    assert type(again) is kind
    assert bodies_in(again, JSON) == bodies_in(frame, MSGPACK)


def bodies_in(frame: Any, codec: Codec) -> list[Any]:
    match frame:
        case Deliver() | Ok():
            return [codec.decode_body(event.body) for event in frame.events or ()]
        case SignalValue():
            return [codec.decode_body(frame.body)]
    return []


@CODECS
@each(CLIENT_FRAMES)
@quickly
@given(data=st.data())
def test_every_frame_of_a_client_is_decoded_as_it_was(
    codec: Codec, kind: type[Struct], data: st.DataObject
) -> None:
    frame = data.draw(frames(kind, json_bodies=not codec.binary))
    message = codec.encode(frame)
    again = codec.decode_client(message)
    assert again == frame or codec.encode(again) == message
    assert type(again) is kind


@each(CLIENT_FRAMES)
@quickly
@given(data=st.data())
def test_the_msgpack_package_writes_what_the_server_reads(
    kind: type[Struct], data: st.DataObject
) -> None:
    frame = data.draw(frames(kind))
    message = msgpack.packb(as_fields(frame, binary=True), use_bin_type=True)
    again = MSGPACK.decode_client(message)
    assert as_fields(again, binary=True) == as_fields(frame, binary=True)


@CODECS
def test_unknown_fields_are_ignored(codec: Codec) -> None:
    fields = {"t": "ping", "id": 3, "later": {"deep": [1]}}
    assert codec.decode_client(written(codec, fields)) == client.Ping(3)


BAD: list[tuple[str, Any, int | None, str]] = [
    ("no map", [1], None, "object"),
    ("no t", {"id": 3}, 3, "t"),
    ("unknown t", {"t": "shout", "id": 3}, 3, "shout"),
    ("t of a wrong type", {"t": 4, "id": 3}, 3, "str"),
    ("missing field", {"t": "join", "id": 3}, 3, "conv"),
    ("wrong type", {"t": "join", "id": 3, "conv": 5}, 3, "$.conv"),
    ("id of a wrong type", {"t": "ping", "id": "3"}, None, "$.id"),
    ("id below zero", {"t": "ping", "id": -1}, -1, "$.id"),
    ("id over 2^53", {"t": "ping", "id": 2**53}, 2**53, "$.id"),
    ("id over 2^63", {"t": "ping", "id": 2**63}, None, "$.id"),
    ("empty cid", {"t": "send", "id": 3, "conv": "g/a", "cid": "", "body": 1}, 3, "$.cid"),
    ("long cid", {"t": "send", "id": 3, "conv": "g/a", "cid": "c" * 65, "body": 1}, 3, "$.cid"),
    ("no cid", {"t": "send", "id": 3, "conv": "g/a", "body": 1}, 3, "cid"),
    ("no body", {"t": "send", "id": 3, "conv": "g/a", "cid": "c"}, 3, "body"),
    ("seq below zero", {"t": "ack", "conv": "g/a", "seq": -1}, None, "$.seq"),
    ("limit zero", {"t": "history", "id": 3, "conv": "g/a", "limit": 0}, 3, "$.limit"),
    ("no robots", {"t": "add_members", "id": 3, "conv": "g/a", "robots": []}, 3, "$.robots"),
    ("no role", {"t": "set_role", "id": 3, "conv": "g/a", "robot": "r", "role": "god"}, 3, "owner, admin"),
    ("view", {"t": "history", "id": 3, "conv": "g/a", "view": "x"}, 3, "events, messages"),
    ("follow word", {"t": "follow", "id": 3, "conv": "g/a", "after": "first"}, 3, "latest, a number"),
]  # fmt: skip


def written(codec: Codec, value: Any) -> bytes:
    return msgpack.packb(value) if codec.binary else json.dumps(value).encode()


@CODECS
@pytest.mark.parametrize(
    ("fields", "request_id", "hint"), [b[1:] for b in BAD], ids=[b[0] for b in BAD]
)
def test_a_bad_frame_says_what_is_wrong_and_keeps_the_id_that_could_be_read(
    codec: Codec, fields: Any, request_id: int | None, hint: str
) -> None:
    with pytest.raises(InvalidFrame) as caught:
        codec.decode_client(written(codec, fields))
    assert caught.value.request_id == request_id
    assert hint in str(caught.value) or (hint == "object" and "array" in str(caught.value))


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**30])
def test_an_id_that_no_error_can_carry_back_is_none(number: int) -> None:
    with pytest.raises(InvalidFrame) as caught:
        JSON.decode_client(f'{{"id":{number}}}'.encode())
    assert caught.value.request_id is None


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (MSGPACK, b""),
        (MSGPACK, b"\xc1"),
        (MSGPACK, msgpack.packb({"t": "ping", "id": 1})[:-1]),
        (MSGPACK, msgpack.packb({"t": "ping", "id": 1}) + b"\x00"),
        (MSGPACK, b"\x81\xa1t\xa2\xff\xfe"),
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b'{"t":"ping","id":1} x'),
        (JSON, b'{"t":"p\xffng","id":1}'),
        (JSON, b'{"t":"ping","id":1e400}'),
    ],
)  # fmt: skip
def test_what_is_no_frame_is_an_invalid_frame(codec: Codec, message: bytes) -> None:
    with pytest.raises(InvalidFrame):
        codec.decode_client(message)


@CODECS
@pytest.mark.parametrize("depth", [5_000, 200_000])
def test_absurd_nesting_is_an_invalid_frame(codec: Codec, depth: int) -> None:
    deep = b"\x91" * depth + b"\xc0" if codec.binary else b"[" * depth + b"]" * depth
    if codec.binary:
        message = msgpack.packb({"t": "send", "id": 1, "conv": "g/a", "cid": "c"})
        message = b"\x85" + message[1:] + b"\xa4body" + deep
    else:
        message = b'{"t":"send","id":1,"conv":"g/a","cid":"c","body":' + deep + b"}"
    with pytest.raises(InvalidFrame, match="nested"):
        codec.decode_client(message)


@CODECS
@given(message=st.binary(max_size=60))
def test_random_bytes_are_a_frame_or_invalid_and_nothing_else(codec: Codec, message: bytes) -> None:
    with contextlib.suppress(InvalidFrame):
        assert type(codec.decode_client(message)) in CLIENT_FRAMES


def test_a_huge_value_from_outside_is_not_quoted_whole() -> None:
    message = written(JSON, {"t": "x" * 100_000, "id": 1})
    with pytest.raises(InvalidFrame) as caught:
        JSON.decode_client(message)
    assert len(str(caught.value)) < 1_000


def test_bytes_in_a_body_become_base64_for_readers_of_json() -> None:
    event = Event(1, 0, "r1", "c", "message", Raw(msgpack.packb({"b": b"\x00\xff"})))
    told = json.loads(JSON.encode(Deliver("g/a", "e", [event])))
    assert told["events"][0]["body"] == {"b": base64.b64encode(b"\x00\xff").decode()}


@pytest.mark.parametrize("count", [1, 15, 16, 300, 70_000])
def test_events_that_are_packed_already_are_delivered_like_others(count: int) -> None:
    body = Raw(msgpack.packb({"b": b"\x00\xff"}))
    events = [Event(n, n, "r1", f"c{n}", "message", body, n or None) for n in range(1, count + 1)]
    items = b"".join(map(msgspec.msgpack.encode, events))
    frame, packed = Deliver("g/a", "e", events), PackedDeliver("g/a", "e", Raw(array(count, items)))
    assert MSGPACK.encode(packed) == MSGPACK.encode(frame)
    assert JSON.encode(packed) == JSON.encode(frame)
    assert packed.events == events
    page = pack(events)
    assert page is not None
    assert bytes(page.packed) == bytes(packed.packed)


def test_encoding_for_json_leaves_the_shared_frame_as_it_was() -> None:
    body = msgpack.packb({"b": b"\x01"})
    frame = Deliver("g/a", "e", [Event(1, 0, "r1", "c", "message", Raw(body))])
    JSON.encode(frame)
    assert bytes(frame.events[0].body) == body


def test_a_gap_says_from_where_to_where() -> None:
    told = json.loads(JSON.encode(Gap("g/a", "e", from_=3, to=5, why="restored")))
    assert told == {"t": "gap", "conv": "g/a", "epoch": "e", "from": 3, "to": 5, "why": "restored"}


def test_each_codec_goes_by_its_subprotocol() -> None:
    assert BY_SUBPROTOCOL == {SUBPROTOCOL_MSGPACK: MSGPACK, SUBPROTOCOL_JSON: JSON}
    assert (MSGPACK.name, MSGPACK.binary) == ("imserver.v1.msgpack", True)
    assert (JSON.name, JSON.binary) == ("imserver.v1.json", False)
