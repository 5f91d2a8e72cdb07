"""The nodes of docker/compose.yaml, run without containers: the very same commands, other addresses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

COMPOSE: Final = Path(__file__).parent.parent / "docker" / "compose.yaml"
LISTEN: Final = "0.0.0.0:7400"
TCP: Final = "0.0.0.0:7401"
DATA: Final = "/data"
STORE: Final = "mongodb://mongo1:27017,mongo2:27017,mongo3:27017/imserver?replicaSet=rs0"
ROUTE: Final = "redis://redis:6379/0"


class Service(NamedTuple):
    """What is run of a service.

    Attributes:
        command: the program and its arguments.
        environment: what is added to its environment.
    """

    command: list[str]
    environment: dict[str, str]

    def at(self, places: Mapping[str, str]) -> "Service":
        """Return it with each address and path of the container replaced by what it is here."""
        return Service([_placed(argument, places) for argument in self.command], self.environment)


def services(path: Path = COMPOSE) -> dict[str, Any]:
    """Return the services of a compose file, as they stand there."""
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    return found


def nodes(path: Path = COMPOSE) -> dict[str, Service]:
    """Return the services of a compose file that run ``imserver serve``, by name."""
    return {
        name: Service(list(service["command"]), dict(service.get("environment", {})))
        for name, service in services(path).items()
        if service.get("command", [])[:2] == ["imserver", "serve"]
    }


def _placed(argument: str, places: Mapping[str, str]) -> str:
    for there, here in places.items():
        argument = argument.replace(there, here)
    return argument
