"""Reads server-sent events, as the HTML standard describes it for browsers."""

import json
from typing import Any, NamedTuple


class Said(NamedTuple):
    """One server-sent event: its type, its data, and the id that was in force."""

    type: str
    data: Any
    id: str


def parsed(text: str) -> list[Said]:
    """Return the events of a stream, as the HTML standard (9.2.6) reads them; what is unfinished is none."""
    events: list[Said] = []
    data: list[str] = []
    last_id, kind = "", "message"
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(Said(kind, json.loads("\n".join(data)), last_id))
            kind, data = "message", []
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            last_id = value
    return events
