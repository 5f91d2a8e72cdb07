"""Every field of every frame a client may send, given values of wrong types, found from the schema."""

import typing
from collections.abc import Iterator
from typing import Any

import msgpack
import msgspec
import pytest
from msgspec import inspect

from imserver.protocol import client_frames
from tests.e2e.wire import JSON, MSGPACK, Codec, Fleet, Peer
from tests.hostile.conftest import bearer
from tests.hostile.refusals import assert_refused, error_to

BEFORE_HELLO = {"register", "hello", "prove"}
GOOD: dict[str, Any] = {
    "id": 1, "conv": "g/x", "cid": "c", "seq": 1, "robot": "r1", "device": "main", "token": "t",
    "public_key": bytes(32), "signature": bytes(64),
    "proof": bytes(64), "boot": 1, "resume": {}, "window": 10, "auto": True,
    "instance": "i", "body": 0, "kind": "message", "ref": 1, "require": "all", "targets": ["r1"],
    "after": 1, "before": 2, "limit": 10, "view": "events", "key": "k", "n": 0, "data": "x",
    "seen": 0, "name": "x", "members": [], "open": False, "robots": ["r1"], "role": "member",
}  # fmt: skip
WRONG: tuple[Any, ...] = (
    None, True, -1, 2**53, 1.5, "", "x" * 70_000, "\x00", b"", b"\xff", [], [1], [None], {},
    {"$gt": ""}, {"a": {"epoch": 1, "seq": "x"}},
)  # fmt: skip


def fields() -> Iterator[tuple[inspect.StructType, inspect.Field]]:
    """Yield every field of every client frame."""
    for struct in typing.get_args(client_frames.ClientFrame):
        info = inspect.type_info(struct)
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            yield info, field


def wrong_values(struct: inspect.StructType, field: inspect.Field) -> Iterator[Any]:
    """Yield values that the field's declared type does not admit."""
    declared = typing.get_type_hints(struct.cls, include_extras=True)[field.name]
    for value in WRONG:
        try:
            msgspec.convert(value, declared)
        except msgspec.ValidationError:
            yield value


TYPED = [pair for pair in fields() if not isinstance(pair[1].type, inspect.RawType)]
NAMES = [f"{struct.tag}.{field.name}" for struct, field in TYPED]


async def fresh(gang: Fleet, codec: Codec, tag: str, device: str = "main") -> Peer:
    if tag in BEFORE_HELLO:
        return await gang.stranger(codec)
    return await bearer(gang, "attacker", codec, device=device)


@pytest.mark.parametrize(("struct", "field"), TYPED, ids=NAMES)
@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
async def test_a_wrong_type_in_any_field_is_refused_by_its_name(
    gang: Fleet, codec: Codec, struct: inspect.StructType, field: inspect.Field
) -> None:
    tag = str(struct.tag)
    values = list(wrong_values(struct, field))
    if codec is JSON:
        values = [value for value in values if not isinstance(value, bytes)]
    assert values
    good = {other.name: GOOD[other.name] for other in struct.fields if other.required}
    for start in range(0, len(values), 2):  # the third offence would end the session
        # A device of its own: one that changes hands again and again is made to wait.
        peer = await fresh(gang, codec, tag, device=f"d{start}")
        for value in values[start : start + 2]:
            frame = {"t": tag, **good, field.name: value}
            error = await error_to(peer, codec.dumps(frame))
            assert_refused(error, "bad_frame", field.name)
            if field.name != "id" and "id" in good:
                assert error["id"] == good["id"]


REQUIRED = [(struct, field) for struct, field in fields() if field.required]


@pytest.mark.parametrize(
    ("struct", "field"), REQUIRED, ids=[f"{s.tag}.{f.name}" for s, f in REQUIRED]
)
async def test_a_missing_field_is_refused_by_its_name(
    gang: Fleet, struct: inspect.StructType, field: inspect.Field
) -> None:
    good = {other.name: GOOD[other.name] for other in struct.fields if other.required}
    del good[field.name]
    peer = await fresh(gang, MSGPACK, str(struct.tag))
    error = await error_to(peer, msgpack.packb({"t": struct.tag, **good}))
    assert_refused(error, "bad_frame", field.name)
