"""What scopes let through, and what is no scope."""

import pytest

from imserver.core.scopes import ALL, SCOPES_MAX, Scopes, Verb


def test_a_scope_is_about_the_conversation_it_names_only():
    scopes = Scopes(["read:g/dock", "send:g/dock", "read:d/r1/r2"])
    assert scopes.verbs("g/dock") == {Verb.READ, Verb.SEND}
    assert scopes.verbs("d/r1/r2") == {Verb.READ}
    for other in ("g/Dock", "g/dock2", "g/doc", "*", "", "d/r2/r1"):
        assert not scopes.covers(other)


def test_a_star_is_about_every_conversation_and_adds_to_the_named_ones():
    scopes = Scopes(["read:*", "send:g/dock"])
    assert scopes.verbs("g/yard") == {Verb.READ}
    assert scopes.verbs("g/dock") == {Verb.READ, Verb.SEND}
    assert scopes.everywhere(Verb.READ) and not scopes.everywhere(Verb.SEND)


@pytest.mark.parametrize("texts", [["*"], ["admin"], ["read:g/dock", "*"], ["admin", "send:*"]])
def test_scopes_that_take_nothing_away_need_not_be_asked(texts):
    assert Scopes(texts).narrow is None
    assert Scopes(texts).admin == ("admin" in texts)


def test_a_scope_that_stands_twice_counts_once():
    assert Scopes(["read:*", "read:*"]).texts == ("read:*",)
    assert ALL.texts == ("*",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "read",
        "read:",
        "write:g/dock",
        "Read:g/dock",
        "read:dock",
        "read:g/",
        "read:g/a b",
        "read:d/r2/r1",
        "read:g/dock ",
        "read:g/*",
        "read:**",
        "admin:*",
        "ADMIN",
    ],
)
def test_what_is_no_scope_is_refused_with_what_would_be_one(text):
    with pytest.raises(ValueError, match="read:g/dock"):
        Scopes([text])


@pytest.mark.parametrize("count", [0, SCOPES_MAX + 1])
def test_a_token_has_some_scopes_and_not_too_many(count):
    with pytest.raises(ValueError, match=str(SCOPES_MAX)):
        Scopes([f"read:g/{number}" for number in range(count)])
