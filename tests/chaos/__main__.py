"""``python -m tests.chaos``: a run on one machine."""

import sys

from tests.chaos.command import main
from tests.chaos.machine import ONE_MACHINE

if __name__ == "__main__":
    sys.exit(main(ONE_MACHINE))
