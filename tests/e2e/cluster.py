"""The nodes of a cluster, each a real server in a process of its own."""

import shutil
from pathlib import Path

from tests.e2e.server_process import ServerProcess


def cluster_of(count: int, folder: Path, *, store: str, route: str) -> tuple[ServerProcess, ...]:
    """Start so many nodes on a MongoDB and a Redis; the first one's signing key is that of all."""
    arguments = ("--store", store, "--route", route, "--tcp", "127.0.0.1:0")
    nodes: list[ServerProcess] = []
    for number in range(count):
        data = folder / f"node{number}"
        if nodes:
            data.mkdir()
            shutil.copy(nodes[0].data / "server.key", data)
        node = ServerProcess(data, arguments=arguments)
        node.start()
        nodes.append(node)
    return tuple(nodes)
