"""``make contend``: nodes that are kept from preferring one of them all append to one conversation.

Says how often they took each other's places, and judges the order. With ``--forward contended`` they prefer
one as they do by default, for comparison.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence

from tests.contention.faults import FAULTS
from tests.contention.run import Plan, carry_out
from tests.mongo_server import MongoSet
from tests.redis_server import redis_process


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the runs that were asked for; 1 if any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.contention", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--robots", type=int, default=3, help="on each node")
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--apart", action="store_true", help="give each node groups of its own")
    parser.add_argument("--rate", type=float, default=40.0, help="sends a second of each robot")
    parser.add_argument("--in-flight", type=int, default=32, help="of each robot, at most")
    parser.add_argument(
        "--forward", action="append", choices=["contended", "always", "never"], help="one run each"
    )
    parser.add_argument(
        "--fault", action="append", choices=FAULTS, help="comes then, in this order"
    )
    parser.add_argument("--fault-seconds", type=float, default=20.0, help="of each that lasts")
    options = parser.parse_args(arguments)
    is_broken = False
    servers = MongoSet(1).start()
    try:
        for forward in options.forward or ["never"]:
            with (
                tempfile.TemporaryDirectory(prefix="contention-") as folder,
                redis_process() as redis,
            ):
                plan = Plan(
                    options.seconds,
                    folder,
                    nodes=options.nodes,
                    robots=options.robots,
                    groups=options.groups,
                    is_apart=options.apart,
                    rate=options.rate,
                    in_flight=options.in_flight,
                    forward=forward,
                    faults=tuple(options.fault or ()),
                    fault_s=options.fault_seconds,
                )
                result = carry_out(plan, store=servers.url(), redis=redis)
            print(result.to_text(), flush=True)
            is_broken = is_broken or bool(result.findings)
    finally:
        servers.stop()
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
