"""Write the generated pages of docs/, or with --check tell whether they are up to date.

usage: python -m tools.write_docs [--check]

A page is its prose in tools/pages/, with a line ``<!-- name -->`` wherever a generated part belongs.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

from msgspec import Struct, structs

from imserver.core import settings
from imserver.core.scopes import Verb
from imserver.logic.permissions import ALLOWED as ALLOWED_ROLES
from imserver.logic.permissions import BY_ANYBODY, SCOPE, Operation
from imserver.protocol import client_frames, events, server_frames
from imserver.protocol.errors import CLOSE_MEANING, MEANING, CloseCode, ErrorCode, after_close
from imserver.protocol.length_prefix import PREFACES
from imserver.protocol.limits import Limits
from imserver.protocol.session_states import ALLOWED, SessionState
from tests.hostile.inputs import page as hostile_inputs
from tests.hostile.websocket_cases.page import tables
from tools.structs_reference import (
    description,
    field_table,
    limits_text,
    summary,
    table,
    type_text,
)

ROOT = Path(__file__).parent.parent
PROSE = Path(__file__).parent / "pages"
PAGES = (
    "protocol.md",
    "configuration.md",
    "reference/permissions.md",
    "reference/websocket-cases.md",
    "reference/hostile-inputs.md",
)
MARK = re.compile(r"^<!-- ([a-z ]+) -->$", re.MULTILINE)

CLIENT_FRAMES: tuple[type[Struct], ...] = get_args(client_frames.ClientFrame)
SERVER_FRAMES: tuple[type[Struct], ...] = get_args(server_frames.ServerFrame)
PARTS: tuple[type[Struct], ...] = (
    events.Event,
    client_frames.Position,
    server_frames.ConversationState,
    server_frames.GroupRow,
    server_frames.MemberRow,
    server_frames.RobotRow,
    server_frames.Identity,
    server_frames.HttpPass,
    server_frames.Changed,
    server_frames.Presence,
)
WHEN = {
    SessionState.FRESH: "before the session",
    SessionState.CHALLENGED: "after `challenge`",
    SessionState.OPEN: "in the session",
}


def tag(frame: type[Struct]) -> str:
    """Return the ``t`` of a frame."""
    return str(frame.__struct_config__.tag)


def examples(side: str) -> dict[str, dict[str, Any]]:
    """Return what is written by hand of each of a side's frames: an example, and what answers it."""
    text = (PROSE / "frames.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = json.loads(text)[side]
    return found


def page(name: str) -> str:
    """Return a page with its generated parts in place.

    Raises:
        KeyError: the prose asks for a part that nobody writes.
    """
    prose = (PROSE / name).read_text(encoding="utf-8")
    return MARK.sub(lambda mark: PARTS_BY_NAME[mark[1]](), prose)


def _prefaces() -> str:
    rows = (
        (
            f"`{preface.decode()}`",
            "MessagePack" if codec.binary else "JSON, in UTF-8",
            "yes" if deflates else "no",
        )
        for preface, (codec, deflates) in PREFACES.items()
    )
    return table(("preface", "frames are", "and may be compressed"), rows)


def _client_frames() -> str:
    by_hand = examples("client")
    sections = []
    for frame in CLIENT_FRAMES:
        when = next(text for state, text in WHEN.items() if frame in ALLOWED[state])
        answer = by_hand[tag(frame)]["answer"]
        sections.append(_section(frame, by_hand, f"Sent {when}. Answer: {answer}."))
    return "\n\n".join(sections)


def _server_frames() -> str:
    by_hand = examples("server")
    return "\n\n".join(_section(frame, by_hand, "") for frame in SERVER_FRAMES)


def _section(frame: type[Struct], by_hand: dict[str, dict[str, Any]], note: str) -> str:
    example = json.dumps(by_hand[tag(frame)]["example"], ensure_ascii=False)
    paragraphs = [f"### `{tag(frame)}`", summary(frame), note]
    paragraphs += [field_table(frame), f"```json\n{example}\n```"]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _parts() -> str:
    return "\n\n".join(
        f"### {part.__name__}\n\n{summary(part)}\n\n{field_table(part)}" for part in PARTS
    )


def _limits() -> str:
    defaults = structs.asdict(Limits())
    rows = ((f"`{n}`", f"{v}", description(Limits, n)) for n, v in defaults.items())
    return table(("limit", "default", "what it is"), rows)


def _error_codes() -> str:
    rows = ((f"`{code}`", *reversed(MEANING[code])) for code in ErrorCode)
    return table(("code", "meaning", "repeat the request"), rows)


def _close_codes() -> str:
    rows = (
        (f"{code.value}", CLOSE_MEANING[code], after_close(code).replace("_", " "))
        for code in CloseCode
    )
    return table(("code", "meaning", "what a client does"), rows)


def _settings() -> str:
    sections = []
    for section in structs.fields(settings.Settings):
        rows = (
            _setting(section.type, s) for s in settings.all_settings() if s.section == section.name
        )
        head = ("setting", "type", "default", "limits", "what it is")
        sections.append(f"## [{section.name}]\n\n{summary(section.type)}\n\n{table(head, rows)}")
        if section.type is settings.RetentionSettings:
            rule = settings.GroupRetention
            sections.append(f"### {rule.__name__}\n\n{summary(rule)}\n\n{field_table(rule)}")
    return "\n\n".join(sections)


def _setting(section: type[Struct], setting: settings.Setting) -> Iterable[str]:
    default = json.dumps(setting.default, ensure_ascii=False)
    return (
        f"`{setting.name}`",
        type_text(setting.type),
        f"`{default}`",
        limits_text(setting.type),
        description(section, setting.name),
    )


def _roles() -> str:
    rows = (
        (
            f"to {operation.value}",
            *("yes" if role in ALLOWED_ROLES[operation] else "–" for role in events.Role),
            BY_ANYBODY.get(operation, "–"),
        )
        for operation in Operation
    )
    return table(("operation", *events.Role, "without a role"), rows)


def _scopes() -> str:
    rows = (
        (f"`{verb}`", ", ".join(f"to {o.value}" for o in Operation if SCOPE[o] is verb))
        for verb in Verb
    )
    return table(("scope", "what takes it"), rows)


PARTS_BY_NAME: dict[str, Callable[[], str]] = {
    "prefaces": _prefaces,
    "client frames": _client_frames,
    "server frames": _server_frames,
    "parts": _parts,
    "limits": _limits,
    "error codes": _error_codes,
    "close codes": _close_codes,
    "settings": _settings,
    "roles": _roles,
    "scopes": _scopes,
    "websocket cases": tables,
    "hostile inputs": hostile_inputs.tables,
}


def main(arguments: list[str]) -> int:
    """Write or check all pages; return the exit status."""
    stale = 0
    for name in PAGES:
        target = ROOT / "docs" / name
        text = page(name)
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        if "--check" in arguments:
            print(f"docs/{name} is not what its sources give: run `make docs` and commit it")
            stale = 1
        else:
            target.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
