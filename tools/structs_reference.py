"""Struct types as Markdown: fields with type, default, limits and description.

Types and limits come from the declarations, descriptions from the ``Attributes`` of the docstrings: what
the server enforces and what the reference says cannot drift apart.
"""

import inspect
import re
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct, structs
from msgspec import inspect as types

_ATTRIBUTE = re.compile(r"(\w+): (.*)")
_SCALARS: dict[type, str] = {
    types.BoolType: "boolean",
    types.IntType: "integer",
    types.FloatType: "number",
    types.StrType: "text",
    types.BytesType: "bytes",
    types.RawType: "any value",
    types.AnyType: "any value",
    types.NoneType: "null",
}


class MissingDescription(Exception):
    """A field has no description in the docstring of its Struct, nor in a base's."""


def summary(struct: type[Struct]) -> str:
    """Return what a Struct's docstring says before its sections, as Markdown."""
    text = inspect.getdoc(struct) or ""
    return markdown(text.partition("\n\nAttributes:")[0])


def field_table(struct: type[Struct]) -> str:
    """Return a Markdown table of a Struct's fields.

    Raises:
        MissingDescription: see the class.
    """
    rows = [
        (
            f"`{field.encode_name}`",
            type_text(field.type),
            default_text(field),
            limits_text(field.type),
            description(struct, field.name),
        )
        for field in structs.fields(struct)
    ]
    return table(("field", "type", "default", "limits", "what it is"), rows)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [" | ".join(head)]
    lines.append(" | ".join("---" for _ in lines[0].split(" | ")))
    lines.extend(" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join(f"| {line} |" for line in lines)


def description(struct: type[Struct], field: str) -> str:
    """Return a field's description, from the nearest class that has one.

    Raises:
        MissingDescription: none has.
    """
    for owner in struct.__mro__:
        found = _attributes(owner.__doc__ or "").get(field)
        if found is not None:
            return markdown(found)
    raise MissingDescription(f"{struct.__name__}.{field} is missing under Attributes")


def type_text(annotation: Any) -> str:
    """Return a type in words."""
    if get_origin(annotation) is Literal:
        # In the order of the declaration, which type_info forgets.
        return " or ".join(f'`"{value}"`' for value in get_args(annotation))
    return _words(types.type_info(annotation))


def default_text(field: structs.FieldInfo) -> str:
    """Return a field's default as JSON, or that it is required."""
    if field.required:
        return "required"
    factory = field.default_factory
    value = field.default if factory is msgspec.NODEFAULT else factory()
    return "left out" if value is None else f"`{msgspec.json.encode(value).decode()}`"


def limits_text(annotation: Any) -> str:
    """Return the limits of a type: its range, or its length."""
    info = types.type_info(annotation)
    if isinstance(info, types.UnionType):
        bounded = [_limits(member) for member in info.types]
        return ", ".join(limits for limits in bounded if limits)
    return _limits(info)


def markdown(text: str) -> str:
    """Return the prose of a docstring as Markdown."""
    return text.replace("``", "`")


def _attributes(docstring: str) -> dict[str, str]:
    section = inspect.cleandoc(docstring).partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    name = ""
    for line in section.split("\n\n")[0].splitlines():
        start = _ATTRIBUTE.fullmatch(line.removeprefix("    "))
        if start is not None:
            name = start[1]
            found[name] = start[2]
        elif name:
            found[name] += " " + line.strip()
    return found


def _words(info: Any) -> str:
    match info:
        case types.LiteralType(values=values):
            return " or ".join(f'`"{value}"`' for value in values)
        case types.EnumType(cls=cls):
            return " or ".join(f'`"{member.value}"`' for member in cls)
        case types.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
        case types.ListType(item_type=item) | types.VarTupleType(item_type=item):
            return f"list of {_words(item)}"
        case types.DictType(key_type=key, value_type=value):
            return f"map from {_words(key)} to {_words(value)}"
        case types.UnionType(types=members):
            return " or ".join(_words(m) for m in members if not isinstance(m, types.NoneType))
    return _SCALARS[type(info)]


def _limits(info: Any) -> str:
    match info:
        case types.IntType(ge=low, le=high) | types.FloatType(ge=low, le=high):
            exclusive = getattr(info, "gt", None)
            floor = f"over {_number(exclusive)}" if exclusive is not None else ""
            return _range(floor or low, high)
        case types.StrType(min_length=low, max_length=high):
            return _with_unit(_range(low, high), "characters")
        case types.BytesType(min_length=low, max_length=high):
            return _with_unit(_range(low, high), "bytes")
        case types.ListType(min_length=low, max_length=high):
            return _with_unit(_range(low, high), "items")
    return ""


def _range(low: Any, high: Any) -> str:
    if low is not None and low == high:
        return _number(low)
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    if high is not None:
        return f"up to {_number(high)}"
    return f"{_number(low)} or more" if low is not None else ""


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}" if text else ""


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value == 2**53 - 1:
        return "2^53 − 1"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
