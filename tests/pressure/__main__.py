"""``make pressure``: every load that presses on delivery, once and in full; some eight minutes.

Prints what was found, and writes it as JSON if asked to. The exit status is 1 if a promise was not kept or a
goal not reached; goals of speed mean little on a machine that is busy with something else.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from tests.pressure.findings import Findings
from tests.pressure.flood import Flood
from tests.pressure.long_backlog import LongBacklog
from tests.pressure.many_conversations import ManyConversations
from tests.pressure.never_acks import NeverAcks
from tests.pressure.siege import Siege
from tests.pressure.stalled_readers import StalledReaders
from tests.pressure.terminate import Terminate
from tests.pressure.unread_answers import UnreadAnswers


class Run(Protocol):
    """A load and its judge."""

    def run(self, folder: Path) -> Findings:
        """Do it, with whatever it stores in ``folder``."""


RUNS: Final[dict[str, Run]] = {
    "stalled-readers": StalledReaders(),
    "never-acks": NeverAcks(),
    "many-conversations": ManyConversations(),
    "long-backlog": LongBacklog(),
    "unread-answers": UnreadAnswers(),
    "flood": Flood(),
    "rude-flood": Flood(waits=False),
    "siege": Siege(),
    "terminate": Terminate(),
}
_FILES: Final = 20_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the runs that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.pressure", description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(RUNS), metavar="NAME")
    parser.add_argument("--json", type=Path, help="where to write the findings")
    options = parser.parse_args(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, most), most))
    found: dict[str, Findings] = {}
    for name in options.only or RUNS:
        print(f"{name}: {_story(RUNS[name])}", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="pressure-") as folder:
            found[name] = RUNS[name].run(Path(folder))
        print(f"{found[name]}\n    ({time.monotonic() - began:.0f} s)\n", flush=True)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    return int(any(each.broken or each.missed for each in found.values()))


def _story(run: Run) -> str:
    story = sys.modules[type(run).__module__].__doc__ or ""
    return story.partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
