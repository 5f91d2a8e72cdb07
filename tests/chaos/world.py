"""What the faults act on, and what they need of the machine."""

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from imserver.verify import read_data_directory
from imserver.verify.logs import Logs
from tests.chaos.disk import Disk
from tests.chaos.isolation import ISOLATED
from tests.chaos.proxy import CALM, Proxy
from tests.chaos.raw_store import RawStore, read_sqlite
from tests.chaos.scene import Scene
from tests.chaos.server import ChaosServer

RECOVERY_LIMIT_S = 5.0
"""A send must be acked this long after a server was started again."""
EXIT_LIMIT_S = 20.0
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(kw_only=True)
class World(Scene):
    """One machine with a server, its disk, its network and its robots.

    ``disk`` is None where there is no loop device; faults that need it are skipped there.
    """

    server: ChaosServer
    proxy: Proxy
    disk: Disk | None = None

    def starts(self) -> int:
        return self.server.starts

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

    async def expect_running(self, name: str) -> None:
        """Note a finding, and start the server again, if it has ended."""
        if not self.server.running:
            self.finding(name, f"the server has ended: {self.server.last_words()}")
            await self.restart(name)

    async def heal(self) -> None:
        self.proxy.change(CALM)
        await super().heal()

    async def end(self) -> None:
        for line in self.server.tracebacks():
            self.finding("the server", line)
        self.server.signal(signal.SIGTERM)
        status = await self.server.wait_exit(within_s=self.allowed_s(EXIT_LIMIT_S))
        if status != 0:
            self.finding("the end", f"the server ended with status {status}, not 0")

    def raw_store(self) -> RawStore:
        return read_sqlite(self.server.data)

    def raw_logs(self) -> Logs:
        return read_data_directory(self.server.data)


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
