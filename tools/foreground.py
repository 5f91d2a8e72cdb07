"""Run a command in the foreground so that Ctrl-C is its own to answer.

usage: python tools/foreground.py COMMAND [ARGUMENT…]

A terminal sends Ctrl-C to every process in its foreground group, and make, being one of them, then reports
failure however well the command ended. So the command gets a group of its own and the terminal with it, and
make sees nothing but its exit status. Without a terminal there is nothing to hand over: the command simply
takes this process's place.
"""

import os
import signal
import subprocess
import sys
from types import FrameType


def main(command: list[str]) -> int:
    """Run ``command`` and return its exit status (128 and the signal's number if one ended it)."""
    if not command:
        sys.exit("usage: python tools/foreground.py COMMAND [ARGUMENT…]")
    if not _owns_terminal():
        os.execvp(command[0], command)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # or handing over the terminal would stop us
    child = subprocess.Popen(command, preexec_fn=_lead_foreground_group)  # noqa: PLW1509 (no threads here)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    return _wait(child.pid)


def _owns_terminal() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _lead_foreground_group() -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)


def _wait(pid: int) -> int:
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        os.tcsetpgrp(0, os.getpgrp())
        if not os.WIFSTOPPED(status):
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        os.killpg(0, signal.SIGSTOP)  # Ctrl-Z stops make too; the shell continues us here
        os.tcsetpgrp(0, pid)
        os.killpg(pid, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
