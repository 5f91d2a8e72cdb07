"""The cases of the Autobahn testsuite, spoken to an endpoint that echoes nothing.

Numbers and meanings are those of its version 25.10.1, groups 1 to 10; its groups 12 and 13 are about
compression (see `test_deflate_cases`). Where the suite expects a message back, these cases say something in
the endpoint's own protocol and expect what comes of it. Group L is ours: sizes up to the limit, and one byte
more.

Source: https://github.com/crossbario/autobahn-testsuite.
"""

from typing import Final

from tests.hostile.websocket_cases import control, fragments, framing, limits, refused, text
from tests.hostile.websocket_cases.case import Case


def _order(case: Case) -> list[int]:
    return [int(part) if part.isdigit() else 99 for part in case.number.split(".")]


CASES: Final[tuple[Case, ...]] = tuple(
    sorted(
        [
            *framing.CASES,
            *control.CASES,
            *refused.CASES,
            *fragments.CASES,
            *text.CASES,
            *limits.CASES,
        ],
        key=_order,
    )
)
