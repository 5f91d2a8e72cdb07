"""The reference: nothing that users can see is missing from it, and its examples are real."""

import json
from typing import Any

import pytest
from msgspec import Struct, structs

from imserver.core import settings
from imserver.protocol.codec import JSON
from imserver.protocol.errors import CLOSE_MEANING, MEANING, CloseCode, ErrorCode
from imserver.protocol.limits import Limits
from imserver.protocol.session_states import ALLOWED
from tests.house.source_tree import ROOT
from tools import write_docs
from tools.structs_reference import MissingDescription, description

FRAMES = [*write_docs.CLIENT_FRAMES, *write_docs.SERVER_FRAMES]
SIDES = [("client", write_docs.CLIENT_FRAMES), ("server", write_docs.SERVER_FRAMES)]


@pytest.fixture(scope="module")
def protocol_page() -> str:
    return (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def configuration_page() -> str:
    return (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", write_docs.PAGES)
def test_a_generated_page_is_what_its_sources_give(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == write_docs.page(name), "run `make docs` and commit the page"


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.__name__)
def test_every_frame_and_field_is_in_the_reference(frame: type[Struct], protocol_page: str) -> None:
    heading = f"### `{write_docs.tag(frame)}`\n"
    sections = [part.partition("\n### ")[0] for part in protocol_page.split(heading)[1:]]
    names = structs.fields(frame)
    assert any(all(f"| `{n.encode_name}` |" in section for n in names) for section in sections)


@pytest.mark.parametrize(("side", "frames"), SIDES)
def test_every_frame_has_an_example(side: str, frames: tuple[type[Struct], ...]) -> None:
    assert set(write_docs.examples(side)) == {write_docs.tag(frame) for frame in frames}


@pytest.mark.parametrize(
    ("side", "tag", "example"),
    [
        (side, tag, by_hand["example"])
        for side, _ in SIDES
        for tag, by_hand in write_docs.examples(side).items()
    ],
)
def test_an_example_is_a_frame_with_known_fields(
    side: str, tag: str, example: dict[str, Any]
) -> None:
    decode = JSON.decode_client if side == "client" else JSON.decode_server
    frame = decode(json.dumps(example).encode())
    known = {field.encode_name for field in structs.fields(type(frame))} | {"t"}
    assert example["t"] == tag
    assert set(example) <= known


def test_every_client_frame_has_its_place_in_a_session() -> None:
    placed = frozenset().union(*ALLOWED.values())
    assert placed == frozenset(write_docs.CLIENT_FRAMES)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_error_code_is_explained(code: ErrorCode, protocol_page: str) -> None:
    retry, meaning = MEANING[code]
    assert f"| `{code}` | {meaning} | {retry} |" in protocol_page


@pytest.mark.parametrize("code", list(CloseCode))
def test_every_close_code_is_explained(code: CloseCode, protocol_page: str) -> None:
    assert f"| {code.value} | {CLOSE_MEANING[code]} |" in protocol_page


@pytest.mark.parametrize("limit", structs.fields(Limits), ids=lambda field: field.name)
def test_every_limit_is_in_the_reference(limit: structs.FieldInfo, protocol_page: str) -> None:
    assert f"| `{limit.name}` |" in protocol_page.partition("## Limits")[2]


@pytest.mark.parametrize("setting", list(settings.all_settings()), ids=lambda setting: setting.key)
def test_every_setting_is_in_the_reference(
    setting: settings.Setting, configuration_page: str
) -> None:
    section = configuration_page.partition(f"## [{setting.section}]")[2].partition("\n## ")[0]
    assert f"| `{setting.name}` |" in section


def test_a_field_without_description_is_noticed() -> None:
    class Silent(Struct):
        """Say nothing of its field."""

        field: int

    with pytest.raises(MissingDescription, match=r"Silent\.field"):
        description(Silent, "field")
