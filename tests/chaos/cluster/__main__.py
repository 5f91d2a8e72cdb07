"""``python -m tests.chaos.cluster``: a run in a cluster."""

import sys

from tests.chaos.cluster.setting import CLUSTER
from tests.chaos.command import main

if __name__ == "__main__":
    sys.exit(main(CLUSTER))
