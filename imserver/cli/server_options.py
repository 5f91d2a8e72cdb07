"""The options of the commands that work with a server's settings, and how settings come of them."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from imserver.cli.failure import WrongUse
from imserver.core import settings
from imserver.core.settings import Settings


class Flag(NamedTuple):
    """An option that gives one setting."""

    option: str
    key: str
    metavar: str | None
    says: str

    def parameter(self) -> inspect.Parameter:
        """Return it as typer reads it; without a metavar it takes no value."""
        shown = typer.Option(self.option, metavar=self.metavar, help=f"{self.says} ({self.key}).")
        kind: Any = str if self.metavar else bool
        return _parameter(self.name, Annotated[kind | None, shown])

    @property
    def name(self) -> str:
        """Its name in Python."""
        return self.option.removeprefix("--").replace("-", "_")


FLAGS: Final = (
    Flag("--listen", "server.listen", "HOST:PORT", "Where to listen"),
    Flag("--tcp", "server.tcp", "HOST:PORT", "Where to take raw TCP"),
    Flag("--tls-cert", "server.tls_cert", "FILE", "The server's certificate, in PEM"),
    Flag("--tls-key", "server.tls_key", "FILE", "Its private key"),
    Flag("--tls-client-ca", "server.tls_client_ca", "FILE", "Who vouches for clients"),
    Flag("--insecure", "server.insecure", None, "Plain text on other addresses than loopback"),
    Flag("--data", "server.data", "DIR", "The data directory"),
    Flag("--store", "store.url", "URL", "A MongoDB to keep it in instead"),
    Flag("--route", "route.url", "URL", "A Redis that connects the nodes on that store"),
    Flag("--cache", "cache.url", "URL|none", "A Redis that keeps what was read of it lately"),
    Flag("--durability", "store.durability", "full|os", "When an event is acked"),
    Flag("--log-level", "log.level", "LEVEL", "debug, info, warning or error"),
)

_Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A configuration file in TOML.")
]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, such as limits.page_max=500."),
]


def server_command(command: Callable[[Settings], None]) -> Callable[..., None]:
    """Return ``command``, which takes the settings in force, with the options that they come from."""

    @functools.wraps(command)
    def with_settings(
        *, config: Path | None = None, set_: list[str] | None = None, **given: Any
    ) -> None:
        flags = {flag.key: given.get(flag.name) for flag in FLAGS}
        command(_settings(config, flags, set_ or []))

    parameters = [flag.parameter() for flag in FLAGS]
    parameters += [_parameter("config", _Config), _parameter("set_", _Set)]
    with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return with_settings


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


def _settings(config: Path | None, flags: dict[str, Any], pairs: list[str]) -> Settings:
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise WrongUse(f"--set {pair!r} must be KEY=VALUE, such as limits.page_max=500")
        flags[key.strip()] = value
    return settings.load(toml=_text(config), environ=os.environ, flags=flags)


def _text(config: Path | None) -> str:
    if config is None:
        return ""
    try:
        return config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise WrongUse(f"configuration file {config} cannot be read: {reason}") from None
