"""Every entry of the table of hostile inputs, beside an honest pair of robots.

After each one the process is the same, the honest pair's messages have arrived, memory has not grown, and no
traceback was written (`target`); what the attacker is told is judged by the entry.
"""

import pytest

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet
from tests.hostile.inputs import GROUPS
from tests.hostile.inputs.attack import Input, Stage

INPUTS = [(title, entry) for title, entries in GROUPS.items() for entry in entries]


@pytest.mark.parametrize(
    ("title", "entry"), INPUTS, ids=[f"{title}: {entry.says[:60]!a}" for title, entry in INPUTS]
)
async def test_the_server_does_what_the_table_says_and_nobody_else_notices(
    target: ServerProcess, gang: Fleet, title: str, entry: Input
) -> None:
    await entry.attack.on(Stage(target, gang))


def test_each_entry_says_something_else() -> None:
    said = [entry.says for _, entry in INPUTS]
    assert len(said) == len(set(said))
