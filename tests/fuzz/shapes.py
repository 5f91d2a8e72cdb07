"""Random values in the shape of the declared frames: mostly as declared, at times at a limit or wrong."""

import random
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from msgspec import Struct, inspect

Shape: TypeAlias = Callable[[random.Random], Any]

INTS: Final = (
    -(2**63) - 1, -(2**63), -(2**31), -1, 0, 1, 2, 127, 128, 255, 256, 65_535, 65_536, 2**31, 2**32,
    2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30,
)  # fmt: skip
TEXTS: Final = (
    "", "a", "0", "1", "-1", "1.0", "true", "null", "r1", "r2", "main", "dock", "g/dock", "g/yard", "d/r1/r2",
    "d/r2/r1", "g/", "@x", "@presence", "message", "edit", "redact", "group_created", "events", "messages",
    "latest", "owner", "member", "observer", "ä", "☃", "\u202e", "\x00", "\n", "\ufeff", "\ud800", "\udfff",
    "\U0010ffff", "x" * 64, "x" * 65, "a" * 300, "' OR 1=1", "$gt", "../..", "{{7*7}}", "<script>",
)  # fmt: skip
FLOATS: Final = (0.0, -0.0, 1.0, 1.5, 1e400, -1e400, float("nan"), 5e-324, 1.7976931348623157e308)
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "conv": ("g/dock", "g/yard", "g/nowhere", "d/r1/r2", "d/r1/r3", "d/r2/r3"),
    "robot": ("r1", "r2", "r3"),
    "robots": ("r1", "r2", "r3"),
    "members": ("r1", "r2", "r3"),
    "targets": ("r1", "r2", "r3"),
    "sender": ("r1", "r2", "r3"),
    "device": ("main", "spare"),
    "name": ("dock", "yard", "new"),
    "kind": ("message", "edit", "redact", "file", "group_created"),
    "cid": ("c1", "c2", "c3"),
    "epoch": ("e1", "e2"),
    "after": ("r1", "g/dock"),
    "why": ("retention", "restored", "ahead"),
}
"""Texts that mean something in a field."""

_WRONG_IN: Final = 25
_AT_LIMIT_IN: Final = 8


def of_struct(kind: type[Struct], *, wrong_in: int = _WRONG_IN) -> Shape:
    """Return the shape of a struct; about one field in ``wrong_in`` is not as declared, 0 for none."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return _struct(info, wrong_in)


def anything(dice: random.Random, depth: int = 3) -> Any:
    """Return any value."""
    match dice.randrange(9 if depth else 6):
        case 0:
            return None
        case 1:
            return dice.random() < 0.5
        case 2:
            return dice.choice(INTS) if dice.random() < 0.5 else dice.randrange(1_000)
        case 3:
            return dice.choice(TEXTS)
        case 4:
            return dice.choice(FLOATS)
        case 5:
            return dice.randbytes(dice.randrange(6))
        case 6:
            return [anything(dice, depth - 1) for _ in range(dice.randrange(4))]
        case 7:
            return {text(dice): anything(dice, depth - 1) for _ in range(dice.randrange(4))}
    return {anything_hashable(dice): anything(dice, depth - 1) for _ in range(dice.randrange(3))}


def anything_hashable(dice: random.Random) -> Any:
    """Return any value that can be a key; often a number, or the text of one."""
    if dice.random() < 0.5:
        return dice.choice((0, 1, -1, 1.0, "0", "1", "-1", "1.0"))
    found = anything(dice, 0)
    return found if found == found else None  # noqa: PLR0124 - NaN is not itself


def text(dice: random.Random) -> str:
    """Return a text, ordinary or not."""
    if dice.random() < 0.3:
        return dice.choice(TEXTS)
    return "".join(chr(97 + dice.randrange(26)) for _ in range(dice.randrange(8)))


def _struct(info: inspect.StructType, wrong_in: int) -> Shape:
    fields = [
        (field.encode_name, field.required, _any_of(field.type, field.name, wrong_in))
        for field in info.fields
    ]
    tag_field, tag = info.tag_field, info.tag

    def shape(dice: random.Random) -> dict[str, Any]:
        found: dict[str, Any] = {} if tag_field is None else {tag_field: tag}
        for name, required, field in fields:
            if required or dice.random() < 0.5:
                found[name] = field(dice)
        if wrong_in and dice.randrange(wrong_in) == 0:
            _spoil(found, dice)
        return found

    return shape


def _spoil(found: dict[str, Any], dice: random.Random) -> None:
    if found and dice.random() < 0.7:
        name = dice.choice(list(found))
        if dice.random() < 0.3:
            del found[name]
        else:
            found[name] = anything(dice)
    else:
        found[text(dice)] = anything(dice)


def _any_of(info: inspect.Type, name: str, wrong_in: int) -> Shape:
    match info:
        case inspect.StructType():
            return _struct(info, wrong_in)
        case inspect.UnionType(types=types):
            return _one_of([_any_of(each, name, wrong_in) for each in types])
        case inspect.ListType(item_type=item):
            return _list(_any_of(item, name, wrong_in))
        case inspect.DictType(key_type=key, value_type=value):
            return _dict(_any_of(key, "conv", wrong_in), _any_of(value, name, wrong_in))
        case inspect.LiteralType(values=values):
            return lambda dice: dice.choice(values)
        case inspect.EnumType(cls=cls):
            return _one_of([_always(each.value) for each in cls])
        case inspect.RawType() | inspect.AnyType():
            return anything if wrong_in else _harmless
    return _scalar(info, name, wrong_in)


def _harmless(dice: random.Random) -> Any:
    """Return a value that any body may have."""
    return dice.choice((None, True, 7, "text", [1, "two"], {"n": 1}))


def _scalar(info: inspect.Type, name: str, wrong_in: int) -> Shape:
    match info:
        case inspect.IntType():
            return _int if wrong_in else _small
        case inspect.StrType():
            return _text_of(NAMES.get(name, ("x",)), wrong_in)
        case inspect.BytesType(min_length=least):
            return _bytes_of(least or 0, wrong_in)
        case inspect.BoolType():
            return lambda dice: dice.random() < 0.5
        case inspect.NoneType():
            return _always(None)
    raise AssertionError(f"no shape for {info}: teach this file the type")


def _always(value: Any) -> Shape:
    return lambda _: value


def _one_of(shapes: list[Shape]) -> Shape:
    return lambda dice: dice.choice(shapes)(dice)


def _list(item: Shape) -> Shape:
    return lambda dice: [item(dice) for _ in range(dice.randrange(4))]


def _dict(key: Shape, value: Shape) -> Shape:
    return lambda dice: {key(dice): value(dice) for _ in range(dice.randrange(3))}


def _small(dice: random.Random) -> int:
    return dice.randrange(1, 9)


def _int(dice: random.Random) -> int:
    return dice.choice(INTS) if dice.randrange(_AT_LIMIT_IN) == 0 else dice.randrange(12)


def _text_of(names: tuple[str, ...], wrong_in: int) -> Shape:
    def shape(dice: random.Random) -> str:
        if wrong_in and dice.randrange(_AT_LIMIT_IN) == 0:
            return text(dice)
        return dice.choice(names)

    return shape


def _bytes_of(size: int, wrong_in: int) -> Shape:
    def shape(dice: random.Random) -> bytes:
        if wrong_in and dice.randrange(_AT_LIMIT_IN) == 0:
            return dice.randbytes(max(0, size + dice.randrange(-1, 2)))
        return dice.randbytes(size)

    return shape
