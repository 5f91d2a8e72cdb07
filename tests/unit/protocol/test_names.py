"""The rules of names, and the one spelling of each conversation."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imserver.protocol import names
from imserver.protocol.names import InvalidName

FIRST = string.ascii_letters + string.digits
REST = FIRST + "._-"
good = st.builds(str.__add__, st.sampled_from(FIRST), st.text(st.sampled_from(REST), max_size=63))


def obeys(text: str) -> bool:
    """The rule, written down a second time."""
    return 1 <= len(text) <= 64 and text[0] in FIRST and all(c in REST for c in text)


@given(name=good)
def test_names_by_the_rule_are_taken(name: str) -> None:
    assert names.is_name(name)
    assert (names.robot_name(name), names.device_name(name)) == (name, name)
    assert names.group(name) == f"g/{name}"
    assert names.conversation(f"g/{name}") == f"g/{name}"


@given(name=st.text(max_size=70) | st.text(st.sampled_from(REST + "/ \n"), max_size=66))
def test_whatever_breaks_the_rule_is_refused_everywhere(name: str) -> None:
    assert names.is_name(name) == obeys(name)
    if not obeys(name):
        for check in (names.robot_name, names.device_name, names.group):
            with pytest.raises(InvalidName):
                check(name)
        with pytest.raises(InvalidName):
            names.conversation(f"g/{name}")


@pytest.mark.parametrize(
    "name", ["", ".a", "-a", "_a", "a b", "a/b", "ä", "a\n", "a" * 65, "a\x00", "１", "ａ"]
)  # fmt: skip
def test_names_near_the_rule_are_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="1 to 64 characters"):
        names.robot_name(name)


@given(one=good, other=good)
def test_a_direct_line_has_one_spelling_whoever_is_named_first(one: str, other: str) -> None:
    if one == other:
        with pytest.raises(InvalidName, match="two different"):
            names.direct(one, other)
        return
    line = names.direct(one, other)
    assert line == names.direct(other, one) == names.conversation(line)
    assert list(names.direct_members(line)) == sorted((one, other), key=str.encode)
    first, second = names.direct_members(line)
    with pytest.raises(InvalidName, match="byte order"):
        names.conversation(f"d/{second}/{first}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "g",
        "g/",
        "d/a",
        "d/a/b/c",
        "d//b",
        "x/a",
        "G/a",
        "g/a/b",
        "/g/a",
        "g/a ",
        "d/a/a",
        "d/a/",
    ],
)
def test_what_is_neither_group_nor_direct_line_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        names.conversation(text)


def test_a_long_name_is_not_quoted_whole() -> None:
    with pytest.raises(InvalidName) as caught:
        names.conversation("x" * 10_000)
    assert len(str(caught.value)) < 400


def test_groups_are_told_from_direct_lines() -> None:
    assert names.is_group("g/dock")
    assert not names.is_group("d/g/h")
