"""The generator's process: one task on standard input, its findings on standard output, both as JSON.

A process of its own, on a core of its own, so that nothing the bench does else is in the way of the load.
"""

import gc
import sys

import msgspec

from bench.load.wire import Broken
from bench.scenario import Findings, Task
from bench.scenarios import BY_NAME


def main() -> None:
    """Run one task."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    gc.disable()  # a pause of the generator would be counted as the server's latency
    try:
        found = BY_NAME[task.scenario].run(task)
    except (Broken, OSError, msgspec.MsgspecError) as exc:
        found = Findings(void=f"{type(exc).__name__}: {exc}")
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
