"""Any frame of the protocol, drawn from the declarations of the Structs themselves."""

import enum
from typing import Any, get_args

import msgspec
from hypothesis import strategies as st
from msgspec import Raw, Struct, inspect

from imserver.protocol.client_frames import ClientFrame
from imserver.protocol.server_frames import ServerFrame

CLIENT_FRAMES: tuple[type[Struct], ...] = get_args(ClientFrame)
SERVER_FRAMES: tuple[type[Struct], ...] = get_args(ServerFrame)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
"""Values that JSON and MessagePack write alike."""


def frames(kind: type[Struct], *, json_bodies: bool = False) -> st.SearchStrategy[Any]:
    """Return a strategy for frames of one kind; their bodies are in MessagePack, or in JSON if asked."""
    encode = msgspec.json.encode if json_bodies else msgspec.msgpack.encode
    return _of(inspect.type_info(kind), encode)


def _of(info: Any, encode: Any) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StructType():
            return st.builds(
                info.cls, **{field.name: _of(field.type, encode) for field in info.fields}
            )
        case inspect.RawType():
            return values.map(lambda value: Raw(encode(value)))
        case inspect.ListType(item_type=item, min_length=least):
            return st.lists(_of(item, encode), min_size=least or 0, max_size=4)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_of(key, encode), _of(value, encode), max_size=3)
        case inspect.UnionType(types=types):
            return st.one_of(*(_of(each, encode) for each in types))
        case inspect.EnumType(cls=cls):
            return _enum(cls)
        case inspect.LiteralType(values=allowed):
            return st.sampled_from(allowed)
    return _scalar(info)


def _scalar(info: Any) -> st.SearchStrategy[Any]:
    match info:
        case inspect.IntType(ge=least, le=most):
            low = -(2**63) if least is None else least
            return st.integers(low, 2**63 - 1 if most is None else most)
        case inspect.StrType(min_length=least, max_length=most):
            return st.text(min_size=least or 0, max_size=min(most or 70, 70))
        case inspect.BytesType(min_length=least, max_length=most):
            return st.binary(min_size=least or 0, max_size=most)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.AnyType():
            return values
    raise AssertionError(f"no strategy for {info}: teach this file the type")


def _enum(cls: type[enum.Enum]) -> st.SearchStrategy[Any]:
    return st.sampled_from(cls)
