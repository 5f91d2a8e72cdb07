"""The ``imserver`` command, also as ``python -m imserver``.

Where only the SDK is installed it says what is missing, instead of failing at an import.
"""

import sys


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: always, with the exit status.
    """
    try:
        from imserver import cli  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("imserver"):
            raise
        sys.exit(
            f"imserver: the package {exc.name} is missing; "
            "to run a server, install imserver[server], not imserver alone"
        )
    cli.main()


if __name__ == "__main__":
    main()
