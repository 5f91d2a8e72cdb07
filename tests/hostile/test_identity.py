"""Who is refused at the door, and why."""

import base64
import json
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imserver.core.tokens import TokenAuthority, bearer
from tests.e2e.wire import JSON, Fleet, Frame, Peer, Refused
from tests.hostile.refusals import assert_refused, assert_still_open

AUTHENTICATE_AGAIN = range(4200, 4300)


async def challenge(peer: Peer, robot: str, device: str = "main") -> Frame:
    """Say hello without a token and return the challenge."""
    await peer.write({"t": "hello", "robot": robot, "device": device})
    frame = await peer.read()
    assert frame["t"] == "challenge"
    return frame


def proof(
    key: Ed25519PrivateKey, challenge: Frame, robot: str, device: str = "main", **lies: str
) -> Frame:
    """Return a `prove` frame, with lies in the text that is signed."""
    facts = {**challenge, **lies}
    text = f"imserver.v1 {facts['server']} {facts['nonce']} {robot} {device}"
    return {"t": "prove", "signature": key.sign(text.encode())}


async def assert_shut_out(peer: Peer, error: Frame, *hints: str) -> None:
    assert_refused(error, "unauthenticated", *hints)
    assert error["fatal"] is True
    assert await peer.until_closed() in AUTHENTICATE_AGAIN


async def test_an_unknown_robot_is_refused_like_one_with_a_wrong_key(gang: Fleet) -> None:
    await gang.register("known")
    errors = []
    for robot in ("unknown", "known"):
        peer, name = await gang.stranger(), gang.name(robot)
        asked = await challenge(peer, name)
        await peer.write(proof(Ed25519PrivateKey.generate(), asked, name))
        error = await peer.read()
        await assert_shut_out(peer, error, "register")
        errors.append(error["message"].replace(name, "NAME"))
    assert errors[0] == errors[1], "whether a name is registered must not show"


@pytest.mark.parametrize("length", [0, 63, 65])
async def test_a_signature_of_wrong_length_is_refused(gang: Fleet, length: int) -> None:
    await gang.register("r1")
    peer = await gang.stranger()
    await challenge(peer, gang.name("r1"))
    await peer.write({"t": "prove", "signature": bytes(length)})
    assert_refused(await peer.read(), {"bad_frame", "unauthenticated"}, "64")


@pytest.mark.parametrize(
    "lie", [{"server": "im-another"}, {"nonce": "another"}], ids=["server", "nonce"]
)
async def test_a_signature_over_something_else_is_refused(gang: Fleet, lie: dict[str, str]) -> None:
    key = await gang.register("r1")
    peer, name = await gang.stranger(), gang.name("r1")
    await peer.write(proof(key, await challenge(peer, name), name, **lie))
    await assert_shut_out(peer, await peer.read(), "imserver.v1", "nonce")


async def test_a_signature_for_another_device_is_refused(gang: Fleet) -> None:
    key = await gang.register("r1")
    peer, name = await gang.stranger(), gang.name("r1")
    await peer.write(proof(key, await challenge(peer, name, "arm"), name, "leg"))
    await assert_shut_out(peer, await peer.read())


async def test_another_robots_key_does_not_open_the_door(gang: Fleet) -> None:
    key = await gang.register("r1")
    await gang.register("r2")
    peer, name = await gang.stranger(), gang.name("r2")
    await peer.write(proof(key, await challenge(peer, name), name))
    await assert_shut_out(peer, await peer.read())


async def test_a_proof_replayed_on_the_same_connection_is_refused(gang: Fleet) -> None:
    key = await gang.register("r1")
    peer, name = await gang.stranger(), gang.name("r1")
    good = proof(key, await challenge(peer, name), name)
    await peer.write(good)
    assert (await peer.read())["t"] == "welcome"
    await peer.write(good)
    assert_refused(await peer.read(), "bad_frame", "open already")
    await assert_still_open(peer)


async def test_a_proof_without_a_challenge_is_refused(gang: Fleet) -> None:
    peer = await gang.stranger()
    await peer.write({"t": "prove", "signature": bytes(64)})
    assert_refused(await peer.read(), "unauthenticated", "hello")


async def test_a_key_that_was_never_registered_does_not_open_a_bearers_name(gang: Fleet) -> None:
    name = gang.name("dashboard")
    bearer = await gang.stranger()
    await bearer.hello(name, key=None, token=gang.server.token(name))
    peer = await gang.stranger()
    await peer.write(proof(Ed25519PrivateKey.generate(), await challenge(peer, name), name))
    await assert_shut_out(peer, await peer.read())


# Enrolment tokens.


async def registering(gang: Fleet, robot: str, token: str) -> Frame:
    """Try to register and return the error."""
    peer = await gang.stranger()
    with pytest.raises(Refused) as refused:
        await peer.register(robot, token=token, key=Ed25519PrivateKey.generate())
    return refused.value.error


async def test_an_expired_enrolment_token_is_refused(gang: Fleet) -> None:
    name = gang.name("r1")
    token = gang.server.enroll(name, ttl_ms=-1_000)
    assert_refused(await registering(gang, name, token), "unauthenticated", "expired", "enroll")


async def test_an_enrolment_token_works_once(gang: Fleet) -> None:
    name = gang.name("r1")
    token = gang.server.enroll(name)
    peer = await gang.stranger()
    await peer.register(name, token=token, key=Ed25519PrivateKey.generate())
    error = await registering(gang, name, token)
    assert_refused(error, {"exists", "unauthenticated"})


async def test_a_fresh_enrolment_token_does_not_take_over_a_name(gang: Fleet) -> None:
    key = await gang.register("r1")
    name = gang.name("r1")
    assert_refused(await registering(gang, name, gang.server.enroll(name)), "exists", name)
    peer = await gang.stranger()
    assert (await peer.hello(name, key=key))["t"] == "welcome"


async def test_an_enrolment_token_for_another_name_is_refused(gang: Fleet) -> None:
    token = gang.server.enroll(gang.name("r1"))
    error = await registering(gang, gang.name("r2"), token)
    assert_refused(error, {"unauthenticated", "forbidden"}, gang.name("r1"))


async def test_two_robots_that_race_with_one_token_are_not_both_registered(gang: Fleet) -> None:
    name = gang.name("r1")
    token = gang.server.enroll(name)
    peers = [await gang.stranger() for _ in range(10)]
    for peer in peers:
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        await peer.post("register", robot=name, token=token, public_key=key)
    answers = [await peer.read() for peer in peers]
    assert [answer["t"] for answer in answers].count("ok") == 1


def tampered(token: str) -> dict[str, str]:
    """Return a good token changed in every way one would try."""
    prefix, claims, signature = token.split(".")
    padded = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
    forged = json.loads(padded) | {"expires_ms": 2**53 - 1}
    forged_text = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    return {
        "empty": "",
        "words": "let me in",
        "a bit of the signature": f"{prefix}.{claims}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "claims": f"{prefix}.{forged_text}.{signature}",
        "no signature": f"{prefix}.{claims}.",
        "cut": token[:-5],
        "longer": token + "A",
        "padded": token + "=",
        "space": token + " ",
        "twice": token + token,
        "long": "imt1." + "A" * 200_000,
        "jwt none": "eyJhbGciOiJub25lIn0.e30.",
        "not ascii": token[:-1] + "é",
        "nul": token + "\x00",
    }


@pytest.mark.parametrize("how", tampered("imt1.e30.QUJD"))
@pytest.mark.parametrize("door", ["register", "hello"])
async def test_a_tampered_token_is_refused(gang: Fleet, how: str, door: str) -> None:
    name = gang.name("r1")
    server = gang.server
    if door == "register":
        error = await registering(gang, name, tampered(server.enroll(name))[how])
        assert_refused(error, "unauthenticated", "token")
        return
    peer = await gang.stranger()
    await peer.write({"t": "hello", "robot": name, "token": tampered(server.token(name))[how]})
    await assert_shut_out(peer, await peer.read(), "token")


async def test_a_bearer_token_does_not_register_and_an_enrolment_token_says_no_hello(
    gang: Fleet,
) -> None:
    name = gang.name("r1")
    error = await registering(gang, name, gang.server.token(name))
    assert_refused(error, "unauthenticated", "imserver enroll")
    peer = await gang.stranger()
    await peer.write({"t": "hello", "robot": name, "token": gang.server.enroll(name)})
    await assert_shut_out(peer, await peer.read(), "imserver token")


async def test_an_expired_bearer_token_is_refused(gang: Fleet) -> None:
    name = gang.name("r1")
    token = gang.server.token(name, expired=True)
    peer = await gang.stranger()
    await peer.write({"t": "hello", "robot": name, "token": token})
    await assert_shut_out(peer, await peer.read(), "expired", "imserver token")


async def test_a_bearer_token_is_good_for_its_own_name_only(gang: Fleet) -> None:
    await gang.register("r2")
    peer = await gang.stranger()
    token = gang.server.token(gang.name("r1"))
    await peer.write({"t": "hello", "robot": gang.name("r2"), "token": token})
    await assert_shut_out(peer, await peer.read(), gang.name("r1"))


async def test_a_token_of_another_deployment_is_refused(gang: Fleet) -> None:
    name = gang.name("r1")
    elsewhere = TokenAuthority(Ed25519PrivateKey.generate())
    now_ms = 2_000_000_000_000
    claims = bearer(name, token_id=secrets.token_hex(16), now_ms=now_ms, ttl_ms=1_000_000)
    peer = await gang.stranger()
    await peer.write({"t": "hello", "robot": name, "token": elsewhere.mint(claims)})
    await assert_shut_out(peer, await peer.read(), "this deployment")


@pytest.mark.parametrize("length", [0, 31, 33])
async def test_a_public_key_of_wrong_length_is_refused(gang: Fleet, length: int) -> None:
    name = gang.name("r1")
    peer = await gang.stranger()
    error = await peer.refusal(
        "register", robot=name, token=gang.server.enroll(name), public_key=bytes(length)
    )
    assert_refused(error, "bad_frame", "32")


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)], ids=["zero", "one"])
async def test_a_public_key_under_which_anyone_can_sign_is_refused(
    gang: Fleet, point: bytes
) -> None:
    name = gang.name("r1")
    peer = await gang.stranger()
    error = await peer.refusal(
        "register", robot=name, token=gang.server.enroll(name), public_key=point
    )
    assert_refused(error, "bad_frame", "key")


async def test_json_keys_that_are_not_base64_are_refused(gang: Fleet) -> None:
    name = gang.name("r1")
    peer = await gang.stranger(JSON)
    error = await peer.refusal(
        "register", robot=name, token=gang.server.enroll(name), public_key="not base64!"
    )
    assert_refused(error, "bad_frame", "public_key")


# The order of things.


@pytest.mark.parametrize(
    "frame",
    [
        {"t": "send", "id": 1, "conv": "g/x", "cid": "c", "body": 0},
        {"t": "history", "id": 1, "conv": "g/x"},
        {"t": "list_robots", "id": 1},
        {"t": "create_group", "id": 1, "name": "x"},
        {"t": "ack", "conv": "g/x", "seq": 1},
        {"t": "signal", "conv": "g/x", "key": "k", "body": 0},
        {"t": "whoami", "id": 1},
    ],
    ids=lambda frame: str(frame["t"]),
)
async def test_a_frame_before_hello_is_refused(gang: Fleet, frame: Frame) -> None:
    peer = await gang.stranger()
    await peer.write(frame)
    error = await peer.read()
    assert_refused(error, "unauthenticated", "hello")
    assert error.get("id") == frame.get("id")


async def test_a_frame_between_challenge_and_proof_is_refused(gang: Fleet) -> None:
    await gang.register("r1")
    peer = await gang.stranger()
    await challenge(peer, gang.name("r1"))
    await peer.write({"t": "whoami", "id": 1})
    assert_refused(await peer.read(), "unauthenticated", "prove")


async def test_a_registration_after_hello_is_refused_and_answered_with_its_id(
    gang: Fleet, attacker: Peer
) -> None:
    name = gang.name("r2")
    await attacker.write(
        {
            "t": "register",
            "id": 77,
            "robot": name,
            "token": gang.server.enroll(name),
            "public_key": bytes(range(32)),
        }
    )
    error = await attacker.read()
    assert_refused(error, "bad_frame", "open already")
    assert error["id"] == 77
