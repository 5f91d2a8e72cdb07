"""Certificates for tests, made by the authority behind ``imserver cert``."""

import datetime as dt
import ssl
from pathlib import Path

from imserver.cli.authority import CA_CERTIFICATE, Authority, Issued, write

HOSTS = ("127.0.0.1",)


class Certificates:
    """A folder with an authority, and what it has signed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.authority = Authority.in_folder(folder, _now())
        self.ca = folder / CA_CERTIFICATE
        self.server = folder / "server.pem"
        self.server_key = folder / "server.key"

    def issue_server(self) -> str:
        """Give the server a new certificate, good for a day, and return its SHA-256."""
        return self._keep(
            self.server, self.authority.for_server(HOSTS, now=_now(), days=1), self.server_key
        )

    def issue_robot(self, robot: str, *, days_ago: int = 0) -> tuple[Path, Path]:
        """Return the files of a certificate for a robot, good for a day from ``days_ago`` on."""
        began = _now() - dt.timedelta(days=days_ago)
        path = self.folder / f"{robot}.{days_ago}.pem"
        self._keep(
            path, self.authority.for_robot(robot, now=began, days=1), path.with_suffix(".key")
        )
        return path, path.with_suffix(".key")

    @property
    def arguments(self) -> list[str]:
        """What makes ``imserver serve`` speak TLS."""
        return ["--tls-cert", str(self.server), "--tls-key", str(self.server_key)]

    def context(self, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Return a client's context that believes this authority, and shows a certificate."""
        context = ssl.create_default_context(cafile=self.ca)
        if client is not None:
            context.load_cert_chain(*client)
        return context

    def _keep(self, path: Path, issued: Issued, key_path: Path) -> str:
        write(key_path, issued.key, mode=0o600)
        write(path, issued.certificate, mode=0o644)
        return issued.sha256


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
