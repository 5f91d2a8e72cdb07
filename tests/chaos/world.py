"""What the faults act on, and what they need of the machine."""

import asyncio
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.disk import Disk
from tests.chaos.fleet import Fleet
from tests.chaos.journal import Journal
from tests.chaos.proxy import Proxy
from tests.chaos.server import ChaosServer

RECOVERY_LIMIT_S = 5.0
"""A send must be acked this long after a server was started again."""
ISOLATED = "CHAOS_ISOLATED"
"""Set in the environment of a run that has its own namespaces of processes, mounts and network."""
CGROUPS = Path("/sys/fs/cgroup")


class Silence(NamedTuple):
    """A time in which nothing may be acked, on the monotonic clock."""

    name: str
    since_s: float
    until_s: float


@dataclass
class World:
    """A server, its disk, its network and its robots.

    ``disk`` is None where there is no loop device; faults that need it are skipped there. Everything may take
    ``slack`` times as long as usual, in runs that must not judge the machine.
    """

    folder: Path
    server: ChaosServer
    proxy: Proxy
    fleet: Fleet
    journal: Journal
    disk: Disk | None = None
    slack: float = 1.0
    silences: list[Silence] = field(default_factory=list)

    async def restart(
        self,
        name: str,
        *,
        environment: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        text: str = "started again",
    ) -> None:
        """Start the server again and note from when on its recovery is measured."""
        limit_s = self.allowed_s(RECOVERY_LIMIT_S)
        entry = self.journal.note("healed", name, text, limit_s=limit_s, start=True)
        await self.server.start(environment, prefix=prefix)
        took_s, entry.waited_s = time.monotonic() - entry.t, self.server.waited_s()
        facts = {"ready_s": round(took_s, 2), "waited_for_a_processor_s": round(entry.waited_s, 2)}
        self.journal.note("note", name, facts=facts)

    def fault(self, name: str, **facts: Any) -> None:
        """Note that something is broken now."""
        self.journal.note("fault", name, facts=facts)

    def healed(self, name: str, text: str = "", *, limit_s: float | None = None) -> None:
        """Note that it works again."""
        allowed_s = None if limit_s is None else self.allowed_s(limit_s)
        self.journal.note("healed", name, text, limit_s=allowed_s)

    def allowed_s(self, usual_s: float) -> float:
        """Return how long something may take here that may usually take so long."""
        return usual_s * self.slack

    def finding(self, name: str, text: str) -> None:
        """Note something that must not be."""
        self.journal.note("finding", name, text)

    def silent(self, name: str, *, since_s: float) -> None:
        """Note that from a moment until now nothing may have been acked."""
        self.silences.append(Silence(name, since_s, time.monotonic()))

    async def expect_running(self, name: str) -> None:
        """Note a finding, and start the server again, if it has ended."""
        if not self.server.running:
            self.finding(name, f"the server has ended: {self.server.last_words()}")
            await self.restart(name)


def abilities() -> dict[str, str | None]:
    """Return what faults may need, and for each why it is not there, or None if it is."""
    isolated = ISOLATED in os.environ
    no_root = None if os.geteuid() == 0 else "this user is not root"
    not_isolated = None if isolated else (no_root or "no namespaces can be made (unshare)")
    return {
        "mounts": not_isolated,
        "time namespace": not_isolated or _no_time_namespace(),
        "disk": not_isolated or _no_loop_device(),
        "strace": _missing("strace"),
        "nft": not_isolated or _missing("nft") or _no_netfilter(),
        "memory cgroup": no_root or _no_cgroup("memory", "memory.limit_in_bytes"),
        "cpu cgroup": no_root or _no_cgroup("cpu", "cpu.cfs_quota_us"),
        "faketime": None if faketime_library() else "libfaketime is not installed",
    }


def faketime_library() -> Path | None:
    """Return the library that shifts a process's clock."""
    name = "libfaketimeMT.so.1"
    places = [Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib")]
    for place in places:
        for folder in (place / "faketime", *place.glob("*/faketime")):
            if (folder / name).exists():
                return folder / name
    return None


async def run_command(*command: str) -> None:
    """Run a command of the system off the loop."""
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=60)


def _missing(program: str) -> str | None:
    return None if shutil.which(program) else f"{program} is not installed"


def _no_loop_device() -> str | None:
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    return _missing("mkfs.ext4")


def _no_time_namespace() -> str | None:
    command = ["unshare", "--time", "--boottime", "1", "true"]
    done = subprocess.run(command, capture_output=True, check=False)
    return None if done.returncode == 0 else "there are no time namespaces"


def _no_netfilter() -> str | None:
    done = subprocess.run(
        ["nft", "add", "table", "ip", "imserver_chaos_try"], capture_output=True, check=False
    )
    if done.returncode != 0:
        return f"nftables does not work here: {done.stderr.decode().strip()}"
    subprocess.run(["nft", "delete", "table", "ip", "imserver_chaos_try"], check=False)
    return None


def _no_cgroup(controller: str, file: str) -> str | None:
    if not (CGROUPS / controller / file).exists() and not (CGROUPS / controller).is_dir():
        return f"there is no cgroup (version 1) controller for {controller}"
    return None if os.access(CGROUPS / controller, os.W_OK) else f"{controller} is not writable"
