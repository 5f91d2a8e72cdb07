"""Names of robots, groups, devices and conversations, and the rules they obey.

A conversation is a *group* (``g/<name>``) or a *direct* line between two robots (``d/<a>/<b>``, the two
names in byte order). Does not know whether a name is taken: that is the registry's business.
"""

import re
from typing import Final, NewType

RobotName = NewType("RobotName", str)
DeviceName = NewType("DeviceName", str)
ConversationName = NewType("ConversationName", str)

NAME_CHARS_MAX: Final = 64
NAME_RULE: Final = "1 to 64 characters from A-Z a-z 0-9 . _ - and the first one a letter or a digit"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class InvalidName(ValueError):
    """A name breaks the rule; the text says which name and what would be right."""


def is_name(text: str) -> bool:
    """Tell whether ``text`` may name a robot, a device, a group or an event kind."""
    return _NAME.fullmatch(text) is not None


def robot_name(text: str) -> RobotName:
    """Return ``text`` as a robot's name.

    Raises:
        InvalidName: ``text`` breaks ``NAME_RULE``.
    """
    return RobotName(_checked("robot", text))


def device_name(text: str) -> DeviceName:
    """Return ``text`` as a device's name.

    Raises:
        InvalidName: ``text`` breaks ``NAME_RULE``.
    """
    return DeviceName(_checked("device", text))


def group(name: str) -> ConversationName:
    """Return the conversation of the group called ``name`` (without the ``g/``).

    Raises:
        InvalidName: ``name`` breaks ``NAME_RULE``.
    """
    return ConversationName(f"g/{_checked('group', name)}")


def direct(one: str, other: str) -> ConversationName:
    """Return the direct line between two different robots, whichever is given first.

    Raises:
        InvalidName: a name breaks ``NAME_RULE``, or both are the same.
    """
    first, second = sorted((_checked("robot", one), _checked("robot", other)))
    if first == second:
        raise InvalidName(f"a direct line joins two different robots, not {first!r} with itself")
    return ConversationName(f"d/{first}/{second}")


def conversation(text: str) -> ConversationName:
    """Return ``text`` as a conversation's name, checked and in its one spelling.

    Raises:
        InvalidName: ``text`` is neither ``g/<name>`` nor ``d/<a>/<b>`` in byte order.
    """
    match text.split("/"):
        case ["g", name]:
            return group(name)
        case ["d", one, other]:
            name = direct(one, other)
            if name != text:
                raise InvalidName(f"the two robots of a direct line stand in byte order: {name}")
            return name
    raise InvalidName(f"conversation {clip(text)!r} must be g/<group> or d/<robot>/<robot>")


def is_group(conv: str) -> bool:
    """Tell whether a checked conversation name is a group's."""
    return conv.startswith("g/")


def direct_members(conv: ConversationName) -> tuple[RobotName, RobotName]:
    """Return the two robots of a direct line (a checked ``d/<a>/<b>``)."""
    _, one, other = conv.split("/")
    return RobotName(one), RobotName(other)


def clip(text: str, chars_max: int = 80) -> str:
    """Shorten text from outside before it is quoted in an error message."""
    return text if len(text) <= chars_max else text[:chars_max] + "…"


def _checked(what: str, text: str) -> str:
    if not is_name(text):
        raise InvalidName(f"{what} name {clip(text)!r} must be {NAME_RULE}")
    return text
