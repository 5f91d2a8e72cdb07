"""Machines on one: network namespaces joined by a bridge, and packets between them that are dropped.

Everything is made inside the network namespace of the run itself, so it touches nothing else on the machine
and is gone with the run. A cut is a rule of nftables where packets come in, so it may hold one way only, and
to those who are cut off it looks as a network does: nothing is refused, nothing ends, nothing comes.
"""

import asyncio
import contextlib
import itertools
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from tests.place import Place

GATEWAY = "10.77.0.1"
"""The run itself; no cut ever holds for it."""
_NAMES = Path("/run/netns")
_BRIDGE = "chaos0"
_TABLE = "imserver_chaos"
_HOOK = "{ type filter hook input priority 0; }"


class Network:
    """Namespaces with an address each, which all reach each other."""

    def __init__(self, names: Sequence[str]) -> None:
        self._hosts = {name: f"10.77.0.{number}" for number, name in enumerate(names, 10)}
        self._extra: dict[str, str] = {}
        self._tables = itertools.count()

    def make(self) -> None:
        """Make them, and the bridge. Blocks."""
        _NAMES.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "tmpfs", str(_NAMES))
        _run("ip", "link", "add", _BRIDGE, "type", "bridge", "forward_delay", "0")
        _run("ip", "address", "add", f"{GATEWAY}/24", "dev", _BRIDGE)
        _run("ip", "link", "set", _BRIDGE, "up")
        for number, (name, host) in enumerate(self._hosts.items()):
            link, peer = f"chaos-{number}", f"peer-{number}"
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", link, "type", "veth", "peer", "name", peer)
            _run("ip", "link", "set", peer, "netns", name, "name", "eth0")
            _run("ip", "link", "set", link, "master", _BRIDGE, "up")
            _run("ip", "-n", name, "address", "add", f"{host}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Remove what was made, as far as it was. Blocks."""
        for name in self._hosts:
            _run("ip", "netns", "delete", name, check=False)
        _run("ip", "link", "delete", _BRIDGE, check=False)
        _run("umount", str(_NAMES), check=False)

    def place(self, name: str) -> Place:
        """Return where programs of this name run."""
        return Place(self._hosts[name], ("nsenter", f"--net={_NAMES / name}", "--"))

    async def take_address(self, name: str, address: str) -> None:
        """Give one of them an address besides its own, and take it from whoever has it: it floats."""
        await asyncio.to_thread(self._take_address, name, address)

    def _take_address(self, name: str, address: str) -> None:
        holder = self._extra.get(address)
        if holder is not None:
            _run("ip", "-n", holder, "address", "delete", f"{address}/24", "dev", "eth0")
        _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        self._extra[address] = name
        _run("ip", "neighbour", "flush", "all")
        for other in self._hosts:
            _run("ip", "-n", other, "neighbour", "flush", "all")

    @contextlib.asynccontextmanager
    async def cut(self, ways: Iterable[tuple[str, str]]) -> AsyncIterator[None]:
        """Drop whatever goes from the first to the second of each pair, until the context ends."""
        table = f"{_TABLE}_{next(self._tables)}"
        at: dict[str, list[str]] = {}
        for source, target in ways:
            at.setdefault(target, []).extend(self._addresses(source))
        try:
            for target, sources in at.items():
                script = [f"add table ip {table}", f"add chain ip {table} input {_HOOK}"]
                script += [f"add rule ip {table} input ip saddr {host} drop" for host in sources]
                await self._nft(target, "; ".join(script))
            yield
        finally:
            for target in at:
                await self._nft(target, f"delete table ip {table}")

    def _addresses(self, name: str) -> list[str]:
        return [self._hosts[name], *(a for a, holder in self._extra.items() if holder == name)]

    async def _nft(self, name: str, script: str) -> None:
        await asyncio.to_thread(_run, *self.place(name).prefix, "nft", script)


def both_ways(ones: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """Return the ways between two sides, for `Network.cut`."""
    pairs = list(itertools.product(ones, others))
    return [*pairs, *((other, one) for one, other in pairs)]


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if check and done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
