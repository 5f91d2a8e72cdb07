"""What commands leave on record: who they are, and the spool for what they did beside a server."""

import getpass
from pathlib import Path

from imserver.core.acts import Act, ActKind, Change, Fact
from imserver.core.clock import SystemClock
from imserver.core.ids import RandomIds
from imserver.data.directory import DataDirectory
from imserver.data.spool import ActSpool
from imserver.protocol.names import RobotName


def whoami() -> str:
    """Return under which name this process's acts are recorded."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # a user without a name, as in some containers
        return "cli"


def act_of(
    kind: ActKind,
    *,
    robot: RobotName | None = None,
    token_id: str | None = None,
    facts: dict[str, Fact] | None = None,
    change: Change | None = None,
) -> Act:
    """Return an act of this moment and of this process's user."""
    id_, now_ms = RandomIds().token(), SystemClock().now_ms()
    return Act(id_, now_ms, whoami(), kind, robot, token_id, facts or {}, change)


def leave_on_record(data: Path, act: Act) -> None:
    """Leave an act in the spool, where a server takes it from.

    Raises:
        DataDirectoryUnusable: it cannot be written.
    """
    ActSpool(DataDirectory(data).spool_path).append([act])
