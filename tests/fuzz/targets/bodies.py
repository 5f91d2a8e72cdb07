"""Bodies: checked, kept as MessagePack, and shown to readers of either codec.

Whatever is taken must be stored in one form, be read alike by a second implementation (msgpack, and the
json of the standard library), and be shown to readers of JSON without a loss that nobody is told of.
"""

import base64
import json
import random
from typing import Any, Final

import msgpack
from msgspec import Raw

from imserver.protocol import bodies
from imserver.protocol.bodies import InvalidBody
from tests.fuzz.given import Breach, Input, Outcome
from tests.fuzz.mutations import mutated
from tests.fuzz.shapes import anything
from tests.fuzz.targets.messages import written

_READERS: Final = {"json": bodies.from_json, "msgpack": bodies.from_msgpack}


class Bodies:
    """What clients put into events."""

    name = "bodies"
    share = 20

    def make(self, dice: random.Random) -> Input:
        codec = "json" if dice.random() < 0.5 else "msgpack"
        return Input(codec, (written(anything(dice, dice.randrange(5)), codec, dice),))

    def mutate(self, given: Input, other: Input, dice: random.Random) -> Input:
        lender = other.pieces[0] if other.pieces else b""
        return Input(given.variant, (mutated(given.pieces[0], lender, dice),))

    def check(self, given: Input) -> Outcome:
        body = b"".join(given.pieces)
        try:
            stored = _READERS[given.variant](Raw(body))
        except InvalidBody as refusal:
            return str(refusal)[:40]
        if bodies.from_msgpack(Raw(stored)) != stored:
            raise Breach("what is stored would be stored otherwise the second time")
        if not bodies.is_same(stored, stored):
            raise Breach("a body is not the same as itself")
        value = msgpack.unpackb(stored, strict_map_key=False)
        shown = bytes(bodies.to_json(Raw(stored)))
        _compare_with_json(value, shown)
        if given.variant == "json":
            _compare_with_what_came(json.loads(body), value)
        again = bodies.from_json(Raw(shown))
        if bytes(bodies.to_json(Raw(again))) != shown:
            raise Breach("what is shown in JSON would be shown otherwise the second time")
        return type(value).__name__

    def close(self) -> None:
        """Hold nothing."""


def _compare_with_json(value: Any, shown: bytes) -> None:
    read = json.loads(shown, object_pairs_hook=_without_doubles, parse_constant=_no_constant)
    if not _is_alike(_as_json(value), read):
        raise Breach(f"{value!r} is shown as {shown!r}")


def _compare_with_what_came(came: Any, stored: Any) -> None:
    if not _is_alike(came, stored):
        raise Breach(f"{came!r} is stored as {stored!r}")


def _as_json(value: Any) -> Any:
    """Return what a value of MessagePack is in JSON, as the documentation has it."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [_as_json(item) for item in value]
        case dict():
            return {str(key): _as_json(item) for key, item in value.items()}
    return value


def _is_alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_alike, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Breach(f"a key is shown twice: {[key for key, _ in pairs]}")
    return found


def _no_constant(name: str) -> None:
    raise Breach(f"{name} is no JSON")
