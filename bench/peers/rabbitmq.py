"""RabbitMQ: classic and quorum queues with publisher confirms, and a fanout exchange."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.cluster_server import Running
from bench.peers import program
from bench.process import Place, Server
from tests.ports import free_port

_LIBRARY: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's ``rabbitmq-server`` in the path changes the user; this is the program behind it."""
_QUIET_SCHEDULERS: Final = "+sbwt none +sbwtdcpu none +sbwtdio none"


class RabbitServer(Server):
    """A RabbitMQ node, whose Erlang port mapper is a daemon of its own."""

    mapper_port = 0

    def stop(self) -> None:
        """End the node and its port mapper."""
        super().stop()
        subprocess.run(
            [program.path_of("epmd"), "-port", str(self.mapper_port), "-kill"],
            check=False,
            capture_output=True,
            timeout=20,
        )


class RabbitMQ(Struct, frozen=True):
    """RabbitMQ. ``queue``: ``classic`` or ``quorum`` for confirmed sends; none for fan-out."""

    name: str
    queue: str | None = None
    in_flight: int = 128
    dialect: str = "amqp"

    @property
    def options(self) -> dict[str, str]:
        """The kind of queue that is declared."""
        return {"queue": self.queue} if self.queue else {}

    def missing(self) -> str | None:
        return (
            None
            if _LIBRARY.exists()
            else "rabbitmq-server is not installed (make bench-setup installs it)"
        )

    def version(self) -> str:
        # Asking rabbitmqctl would leave an Erlang port mapper behind.
        folders = Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")
        return max((folder.name.rpartition("-")[2] for folder in folders), default="unknown")

    def settings(self) -> dict[str, str]:
        sends = {"queue": self.queue, "durable": "yes", "confirms": "yes"} if self.queue else {}
        return {"erlang": _QUIET_SCHEDULERS, "plugins": "none", **sends}

    def start(self, directory: Path, place: Place) -> Server:
        port, mapper_port = free_port(), free_port()
        configuration = directory / "rabbitmq.conf"
        configuration.write_text(
            f"listeners.tcp.default = 127.0.0.1:{port}\nvm_memory_high_watermark.relative = 0.6\n"
            "disk_free_limit.absolute = 100MB\nlog.console = true\nlog.console.level = info\n"
        )
        plugins = directory / "enabled_plugins"
        plugins.write_text("[].\n")
        server = RabbitServer(
            [str(_LIBRARY)],
            port=port,
            directory=directory,
            place=place,
            environment={
                "HOME": str(directory),
                "RABBITMQ_NODENAME": f"bench{port}@localhost",
                "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
                "RABBITMQ_LOG_BASE": str(directory / "log"),
                "RABBITMQ_CONFIG_FILE": str(configuration),
                "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
                "RABBITMQ_DIST_PORT": str(free_port()),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                    f"{_QUIET_SCHEDULERS} -kernel inet_dist_use_interface {{127,0,0,1}}"
                ),
                "ERL_EPMD_PORT": str(mapper_port),
                "ERL_EPMD_ADDRESS": "127.0.0.1",
            },
        )
        server.mapper_port = mapper_port
        try:
            server.wait_listening(b"startup complete")
        except BaseException:
            server.stop()
            raise
        return server

    def tokens(self, server: Running, robots: Sequence[str]) -> dict[str, str]:
        return {}
