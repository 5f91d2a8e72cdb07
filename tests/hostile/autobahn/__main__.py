"""Run the suite's cases; exit status 1 if one fails.

usage: python -m tests.hostile.autobahn [CASE ...]      (as 5.* or 7.1.5)

Without names, all run but those of compression, groups 12 and 13, which take many minutes.

Some cases give an endpoint a second and no more: have the machine to yourself. That is why these are not
among the tests; `test_websocket_cases` is, which asks for the same and waits as long as it takes.
"""

import asyncio
import sys
from collections import Counter
from typing import Any

import uvloop

from imserver.core.settings import Settings
from imserver.protocol.limits import Limits
from tests.hostile.autobahn.echo import EchoLink
from tests.unit.access.node_in_memory import running

COMPRESSION = ["12.*", "13.*"]
AT_A_TIME = 10
_MIB = 1024 * 1024
_LIMITS = Limits(body_bytes_max=19 * _MIB, frame_bytes_max=20 * _MIB)  # the suite sends 16 MiB


async def results_of(cases: list[str]) -> list[Any]:
    """Return what the suite says of each case."""
    from kosoku import FailureError, run_fuzzingclient  # noqa: PLC0415 - installed for this alone

    async with running(Settings(limits=_LIMITS)) as node:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: EchoLink(node.door), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"ws://127.0.0.1:{port}/v1/connect"
        try:
            results: list[Any] = await run_fuzzingclient(
                url,
                cases or None,
                exclude_cases=None if cases else COMPRESSION,
                concurrency=AT_A_TIME,
            )
        except FailureError as failure:
            results = failure.results
        server.close()
        return results


def main(cases: list[str]) -> int:
    """Run the cases and print what is not simply right; return the exit status."""
    results = uvloop.run(results_of(cases))
    verdicts = Counter(result.behavior.value for result in results)
    print(f"{len(results)} cases: " + ", ".join(f"{n} {v}" for v, n in verdicts.most_common()))
    for result in results:
        if result.behavior.value != "OK" or result.behavior_close.value != "OK":
            verdict = f"{result.behavior.value}, close {result.behavior_close.value}"
            print(f"{result.case_id}: {verdict}, code {result.remote_close_code}")
    return 0 if results and all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
