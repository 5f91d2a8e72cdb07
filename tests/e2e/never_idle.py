"""A server whose store never copies its log for want of work: ``never_idle.py PYTHON -m imserver serve …``.

What a kill leaves behind is then the same however long the machine stood still before it.
"""

import sys
from typing import Final

from imserver import cli
from imserver.data.sqlite import writer

PREFIX: Final = (sys.executable, __file__)
"""What to begin a server's command with."""

if __name__ == "__main__":
    writer._IDLE_S = 3_600.0  # type: ignore[misc]
    sys.exit(cli.run(sys.argv[4:]))
