"""Runs it at full size, by default 200 MiB and 20 cuts, and says what it saw."""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.e2e.server_process import ServerProcess
from tests.files.long_upload import MIB, long_upload


def main() -> int:
    """Run and report; 1 if the digest differs or the memory grew too far."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=200)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess(Path(folder) / "data")
        server.start()
        dice = random.Random(wanted.seed)
        seen = asyncio.run(
            long_upload(server, Path(folder), size=wanted.mib * MIB, cuts=wanted.cuts, dice=dice)
        )
        server.stop()
    print(seen)
    return 0 if seen.is_good else 1


sys.exit(main())
