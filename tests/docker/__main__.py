"""``make docker-check``: do the steps of docker/Dockerfile in a folder, start what they make, and ask it.

The packages come from the package index, as they would in Docker. The server runs as the user that the image
makes, where this is run as root; else as whoever runs it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.docker.dockerfile import Image
from tests.ports import free_port

START_S = 30.0
STOP_S = 30.0


def main() -> int:
    """Do it all; an exception tells what went wrong."""
    folder = Path(tempfile.mkdtemp(prefix="imserver-image-"))
    folder.chmod(0o755)
    try:
        image = Image(folder)
        image.build()
        for step in image.skipped:
            print(f"not done here: {step.name} {step.text}")
        _refuses_plain_text(image)
        _serves(image)
    finally:
        shutil.rmtree(folder)
    print("docker: ok")
    return 0


def _as_user(image: Image) -> dict[str, int]:
    return {"user": image.uid, "group": image.uid} if os.geteuid() == 0 else {}


def _refuses_plain_text(image: Image) -> None:
    """The image by itself asks for a certificate, or for --insecure."""
    done = subprocess.run(
        image.command("CMD"),
        env=image.variables({}),
        cwd=image.placed("/data"),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
        **_as_user(image),  # type: ignore[call-overload]
    )
    assert done.returncode == 2, done
    assert "--insecure" in done.stderr, done


def _serves(image: Image) -> None:
    port = free_port()
    variables = image.variables(
        {"IMSERVER_SERVER_LISTEN": f"127.0.0.1:{port}", "IMSERVER_URL": f"http://127.0.0.1:{port}"}
    )
    ours = {name: value for name, value in variables.items() if name != "IMSERVER_URL"}
    with Path(image.root, "log").open("wb") as log:
        server = subprocess.Popen(
            image.command("CMD"),
            env=ours,
            cwd=image.placed("/data"),
            stdout=log,
            stderr=log,
            **_as_user(image),  # type: ignore[call-overload]
        )
    try:
        _wait_healthy(image, variables)
        owner = Path(f"/proc/{server.pid}").stat().st_uid
        assert owner == (image.uid or owner) or os.geteuid() != 0, owner
        print(f"healthy as user {owner}")
        server.terminate()
        status = server.wait(STOP_S)
        assert status == 0, Path(image.root, "log").read_text()
    finally:
        server.kill()
        server.wait()


def _wait_healthy(image: Image, variables: dict[str, str]) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        done = subprocess.run(
            image.command("HEALTHCHECK"),
            env=variables,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
            **_as_user(image),  # type: ignore[call-overload]
        )
        if done.returncode == 0:
            assert done.stdout == "ok\n", done
            return
        assert time.monotonic() < deadline_s, (done, Path(image.root, "log").read_text())
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
