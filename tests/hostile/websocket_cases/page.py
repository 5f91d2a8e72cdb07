"""The cases as a table for the reference."""

from collections.abc import Iterator

from tests.hostile.websocket_cases import CASES
from tests.hostile.websocket_cases.case import Case
from tests.hostile.websocket_cases.speech import JSON

GROUPS = {
    "1": "Whole messages",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Reserved opcodes",
    "5": "Fragments",
    "6": "UTF-8",
    "7": "Goodbyes",
    "9": "Large messages, and many",
    "10": "Fragments of an odd size",
    "L": "Sizes and the limit (ours)",
}
_HEAD = "| case | what is sent | in | what the endpoint does | binding |\n| --- | --- | --- | --- | --- |"


def tables() -> str:
    """Return a section for each group."""
    return "\n\n".join(
        f"## {number}. {title}\n\n{_HEAD}\n" + "\n".join(_rows(number))
        for number, title in GROUPS.items()
    )


def _rows(group: str) -> Iterator[str]:
    for case in CASES:
        if case.number.partition(".")[0] == group:
            cells = (case.number, case.says, _kinds(case), case.does, case.level.value)
            yield f"| {' | '.join(cells)} |"


def _kinds(case: Case) -> str:
    if len(case.codecs) == 2:
        return "both"
    return "text" if case.codecs[0] == JSON else "binary"
