"""Namespaces of a run's own.

As root a run gives itself namespaces of processes, mounts and network: whatever it mounts, starts, joins or
drops is seen by itself alone, and is gone with it, also when it is killed.
"""

import os
import shutil
import subprocess
import sys

ISOLATED = "CHAOS_ISOLATED"
"""Set in the environment of a run that has its own namespaces of processes, mounts and network."""
_NAMESPACES = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


def isolate(program: str) -> None:
    """Go on in namespaces of our own, if this machine lets us."""
    if ISOLATED in os.environ:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    if cannot_isolate() is None:
        unshare = str(shutil.which("unshare"))
        command = [unshare, *_NAMESPACES, sys.executable, "-m", program, *sys.argv[1:]]
        os.execve(unshare, command, {**os.environ, ISOLATED: "1"})


def cannot_isolate() -> str | None:
    """Return why a run can have no namespaces of its own here, or None if it can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    missing = [name for name in ("unshare", "ip") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run(["unshare", *_NAMESPACES, "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "this machine lets nobody make namespaces (unshare)"
