"""What a token says, and that nothing but what its deployment minted is believed."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from imserver.core import tokens
from imserver.core.errors import Refusal
from imserver.core.tokens import TokenAuthority
from imserver.protocol.errors import ErrorCode

NOW_MS = 1_000_000
HOUR_MS = 3_600_000
TOKEN_ID = "0123456789abcdef0123456789abcdef"
AUTHORITY = TokenAuthority(Ed25519PrivateKey.from_private_bytes(bytes(32)))


def bearer(**changes):
    return tokens.bearer(
        "r1", **({"token_id": TOKEN_ID, "now_ms": NOW_MS, "ttl_ms": HOUR_MS} | changes)
    )


def enrolment(**changes):
    claims = {"token_id": TOKEN_ID, "now_ms": NOW_MS, "ttl_ms": HOUR_MS}
    return tokens.enrolment("r1", **(claims | changes))


def refusal(token, *, kind="bearer", now_ms=NOW_MS, authority=AUTHORITY):
    """Return the message with which a token is refused."""
    with pytest.raises(Refusal) as refused:
        authority.read(token, kind=kind, now_ms=now_ms)
    assert refused.value.code is ErrorCode.UNAUTHENTICATED
    return refused.value.message


def test_a_bearer_token_reads_as_it_was_minted():
    claims = bearer(scopes=["admin"])
    assert AUTHORITY.read(AUTHORITY.mint(claims), kind="bearer", now_ms=NOW_MS) == claims


def test_an_enrolment_token_reads_as_it_was_minted():
    claims = enrolment(groups=["g/dock", "g/yard"])
    assert AUTHORITY.read(AUTHORITY.mint(claims), kind="enroll", now_ms=NOW_MS) == claims


def test_a_token_is_good_until_its_last_millisecond():
    token = AUTHORITY.mint(bearer())
    assert AUTHORITY.read(token, kind="bearer", now_ms=NOW_MS + HOUR_MS - 1).robot == "r1"


def test_an_expired_token_is_refused_with_the_time_it_expired():
    message = refusal(AUTHORITY.mint(bearer()), now_ms=NOW_MS + HOUR_MS)
    assert "expired at 1970-01-01T01:16:40" in message
    assert "imserver token" in message


def test_an_enrolment_token_opens_no_session():
    message = refusal(AUTHORITY.mint(enrolment()), kind="bearer")
    assert "this is an enrolment token" in message
    assert "imserver token" in message


def test_a_bearer_token_registers_nobody():
    message = refusal(AUTHORITY.mint(bearer()), kind="enroll")
    assert "this is a bearer token" in message
    assert "imserver enroll" in message


def test_the_token_of_another_deployment_is_refused():
    other = TokenAuthority(Ed25519PrivateKey.generate())
    assert "not signed by this deployment" in refusal(other.mint(bearer()))


def test_a_token_with_other_claims_under_the_signature_is_refused():
    honest, admin = AUTHORITY.mint(bearer()), AUTHORITY.mint(bearer(scopes=["admin"]))
    forged = ".".join([*admin.split(".")[:2], honest.split(".")[2]])
    assert "not signed by this deployment" in refusal(forged)


@pytest.mark.parametrize(
    "token", ["", "imt1.", "imt1.a.b.c", "imt2.e30.e30", "é" * 40, "imt1.!!.!!"]
)
def test_what_is_no_token_is_refused_as_malformed(token):
    assert "the token is malformed" in refusal(token)


def test_a_token_over_the_size_limit_is_refused_unread():
    assert "over 16384 characters" in refusal("imt1." + "A" * tokens.TOKEN_CHARS_MAX)


def test_there_is_one_spelling_of_a_token():
    head, payload, signature = AUTHORITY.mint(bearer()).split(".")
    padded = f"{head}.{payload}.{signature}=="
    standard = base64.b64encode(base64.urlsafe_b64decode(signature + "==")).decode()
    # The last of 86 characters carries two bits of the signature and four that must be zero.
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sloppy = signature[:-1] + digits[digits.index(signature[-1]) + 1]
    for other in (padded, f"{head}.{payload}.{standard}", f"{head}.{payload}.{sloppy}"):
        assert "malformed" in refusal(other)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_token_with_any_byte_changed_is_refused(place, change):
    token = bytearray(AUTHORITY.mint(bearer()).encode())
    token[place % len(token)] ^= change
    assert refusal(token.decode("latin-1"))


@given(st.text())
def test_any_text_is_refused_without_another_error(text):
    assert refusal(text)
    assert refusal(f"imt1.{text}")


def test_the_holder_can_read_a_token_without_the_key():
    claims = bearer()
    assert tokens.unverified(AUTHORITY.mint(claims), kind="bearer") == claims


def test_the_server_id_is_the_same_for_the_same_key_only():
    same = TokenAuthority(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    other = TokenAuthority(Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x01"))
    assert AUTHORITY.server_id == same.server_id != other.server_id


@pytest.mark.parametrize("ttl_ms", [0, -1, tokens.TTL_MS_MAX + 1])
def test_a_lifetime_out_of_range_is_refused(ttl_ms):
    with pytest.raises(ValueError, match="more than 0 and at most 10 years"):
        bearer(ttl_ms=ttl_ms)


@pytest.mark.parametrize(
    ("groups", "reason"), [(["dock"], "must be g/<group>"), (["d/a/b"], "is a direct line")]
)
def test_a_robot_is_enrolled_into_groups_only(groups, reason):
    with pytest.raises(ValueError, match=reason):
        enrolment(groups=groups)


def test_a_token_for_a_name_against_the_rule_is_not_made():
    with pytest.raises(ValueError, match="must be 1 to 64 characters"):
        tokens.bearer("r/1", token_id=TOKEN_ID, now_ms=NOW_MS, ttl_ms=HOUR_MS)
