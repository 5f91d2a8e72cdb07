"""The page on verifying tells everything that may stand in a history, and its examples are true."""

import json
import re
from pathlib import Path

import pytest
from msgspec import structs

from imserver.verify import records
from imserver.verify.body_hash import body_sha
from imserver.verify.guarantees import MEANING, Guarantee
from imserver.verify.verifier import verify

PAGE = (Path(__file__).parents[3] / "docs" / "verify.md").read_text(encoding="utf-8")
COMMON = {"op", "t", "client", "session", "note"}


def op_of(record):
    return record.__struct_config__.tag


def documented(text):
    """Return the fields that the table of a section names in its first column."""
    rows = re.findall(r"^\| (`.*?`) \|", text, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def section(heading):
    return PAGE.partition(f"\n{heading}\n")[2].partition("\n##")[0]


@pytest.mark.parametrize("record", records.Record.__args__, ids=op_of)
def test_every_record_and_field_is_in_the_page(record):
    fields = {field.encode_name for field in structs.fields(record)} - COMMON
    assert documented(section(f"### `{op_of(record)}`")) == fields


def test_the_common_fields_are_in_the_page():
    assert documented(section("## Histories").partition("Every record has")[2]) == COMMON


@pytest.mark.parametrize("guarantee", list(Guarantee))
def test_every_guarantee_is_in_the_page(guarantee):
    meaning = MEANING[guarantee]
    assert f"| {guarantee} | {meaning.says} | {meaning.needs} |" in PAGE


def test_the_hashes_are_true():
    rows = re.findall(r"^\| `(.*)` \| `([0-9a-f]{64})` \|", PAGE, flags=re.MULTILINE)
    assert len(rows) == 5
    for body, sha in rows:
        assert body_sha(json.loads(body)) == sha


def test_the_example_is_a_clean_history(tmp_path):
    (example,) = re.findall(r"```jsonl\n(.*?)```", PAGE, flags=re.DOTALL)
    path = tmp_path / "example.jsonl"
    path.write_text(example)
    report = verify([path])
    assert (report.clean, report.records) == (True, 5)
    assert body_sha("hello") in example
