"""Values as MessagePack and as JSON, written by hand, in every width and spelling that readers meet.

The product's own encoder writes one form of each value; a hostile client, or another library, writes others.
"""

import random
import struct
from collections.abc import Callable
from typing import Any, Final

_ODD_IN: Final = 12
"""One value in so many is written in another form than the shortest."""


def to_msgpack(value: Any, dice: random.Random) -> bytes:
    """Return a value in MessagePack."""
    parts: list[bytes] = []
    _pack(value, dice, parts.append)
    return b"".join(parts)


def to_json(value: Any, dice: random.Random) -> bytes:
    """Return a value in JSON; bytes become text of their numbers, keys of any kind become text."""
    parts: list[str] = []
    _spell(value, dice, parts.append)
    return "".join(parts).encode("utf-8", "surrogatepass")


def _pack(value: Any, dice: random.Random, put: Callable[[bytes], None]) -> None:
    is_odd = dice.randrange(_ODD_IN) == 0
    match value:
        case None:
            put(b"\xc0")
        case bool():
            put(b"\xc3" if value else b"\xc2")
        case int():
            put(_int(value, is_odd))
        case float():
            put(
                struct.pack(">Bf", 0xCA, value)
                if is_odd and abs(value) < 1e38
                else struct.pack(">Bd", 0xCB, value)
            )
        case str():
            raw = value.encode("utf-8", "surrogatepass")
            put(_head(len(raw), is_odd, fix=(0xA0, 32), widths=(0xD9, 0xDA, 0xDB)) + raw)
        case bytes():
            put(_head(len(value), is_odd, fix=None, widths=(0xC4, 0xC5, 0xC6)) + value)
        case list() | tuple():
            put(_head(len(value), is_odd, fix=(0x90, 16), widths=(None, 0xDC, 0xDD)))
            for item in value:
                _pack(item, dice, put)
        case dict():
            _pack_map(value, dice, put, is_odd=is_odd)
        case _:
            raise AssertionError(f"no MessagePack for {value!r}")


def _pack_map(
    value: dict[Any, Any], dice: random.Random, put: Callable[[bytes], None], *, is_odd: bool
) -> None:
    items = list(value.items())
    if items and is_odd:
        items.append(dice.choice(items))  # a key that comes twice
    put(_head(len(items), is_odd, fix=(0x80, 16), widths=(None, 0xDE, 0xDF)))
    for key, item in items:
        _pack(key, dice, put)
        _pack(item, dice, put)


def _int(value: int, is_odd: bool) -> bytes:
    if not -(2**63) <= value < 2**64:
        return b"\xcf" + (value % 2**64).to_bytes(8)
    if is_odd:
        return struct.pack(">Bq", 0xD3, value) if value < 2**63 else struct.pack(">BQ", 0xCF, value)
    if -32 <= value < 128:
        return struct.pack(">b", value)
    for code, form, low, high in _INT_FORMS:
        if low <= value < high:
            return struct.pack(form, code, value)
    raise AssertionError("64 bits hold it")


_INT_FORMS: Final = (
    (0xCC, ">BB", 0, 2**8),
    (0xCD, ">BH", 0, 2**16),
    (0xCE, ">BI", 0, 2**32),
    (0xCF, ">BQ", 0, 2**64),
    (0xD0, ">Bb", -(2**7), 0),
    (0xD1, ">Bh", -(2**15), 0),
    (0xD2, ">Bi", -(2**31), 0),
    (0xD3, ">Bq", -(2**63), 0),
)


def _head(
    size: int, is_odd: bool, *, fix: tuple[int, int] | None, widths: tuple[int | None, int, int]
) -> bytes:
    short, middle, long = widths
    if is_odd:
        return struct.pack(">BI", long, size)
    if fix is not None and size < fix[1]:
        return bytes((fix[0] | size,))
    if short is not None and size < 2**8:
        return bytes((short, size))
    return struct.pack(">BH", middle, size) if size < 2**16 else struct.pack(">BI", long, size)


def _spell(value: Any, dice: random.Random, put: Callable[[str], None]) -> None:
    is_odd = dice.randrange(_ODD_IN) == 0
    if is_odd:
        put(dice.choice((" ", "\n", "\t", "\r\n ")))
    match value:
        case None:
            put("null")
        case bool():
            put("true" if value else "false")
        case int():
            put(f"{value}.0" if is_odd and dice.random() < 0.3 else str(value))
        case float():
            put(_float(value))
        case str():
            put(_quoted(value, is_odd))
        case bytes():
            put(_quoted(value.hex(), False))
        case list() | tuple():
            _spell_items(value, dice, put)
        case dict():
            _spell_map(value, dice, put, is_odd=is_odd)
        case _:
            raise AssertionError(f"no JSON for {value!r}")


def _spell_items(
    value: list[Any] | tuple[Any, ...], dice: random.Random, put: Callable[[str], None]
) -> None:
    put("[")
    for number, item in enumerate(value):
        put("," if number else "")
        _spell(item, dice, put)
    put("]")


def _spell_map(
    value: dict[Any, Any], dice: random.Random, put: Callable[[str], None], *, is_odd: bool
) -> None:
    items = list(value.items())
    if items and is_odd:
        items.append(dice.choice(items))
    put("{")
    for number, (key, item) in enumerate(items):
        put("," if number else "")
        put(_quoted(key if isinstance(key, str) else str(key), is_odd))
        put(":")
        _spell(item, dice, put)
    put("}")


def _float(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124
        return {"nan": "NaN", "inf": "1e400", "-inf": "-Infinity"}[str(value)]
    return repr(value)


def _quoted(value: str, is_odd: bool) -> str:
    if is_odd:
        return '"' + "".join(_escaped(ord(letter)) for letter in value) + '"'
    return (
        '"'
        + "".join(letter if _is_plain(letter) else _escaped(ord(letter)) for letter in value)
        + '"'
    )


def _is_plain(letter: str) -> bool:
    return letter >= " " and letter not in '"\\' and not 0xD800 <= ord(letter) < 0xE000


def _escaped(code: int) -> str:
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 | code >> 10:04x}\\u{0xDC00 | code & 0x3FF:04x}"
