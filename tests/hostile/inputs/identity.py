"""Who one is: proofs, tokens and keys that are not good, and devices that are used twice."""

import secrets
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.e2e.wire import Frame, Peer
from tests.hostile.conftest import HELLO_TIMEOUT_S
from tests.hostile.inputs.attack import PATIENCE_S, Input, Stage, Story
from tests.hostile.raw_socket import TEXT, RawSocket, frame
from tests.hostile.refusals import assert_refused
from tests.hostile.test_identity import challenge, proof, tampered

ORDER: Final = 2**252 + 27742317777372353535851937790883648493


async def shut_out(peer: Peer, said: Frame | bytes) -> Frame:
    """Say something that must cost the connection; return the error."""
    if isinstance(said, bytes):
        await peer.socket.send(said)
    else:
        await peer.write(said)
    error = await peer.read()
    assert_refused(error, "unauthenticated")
    assert error["fatal"] is True
    assert await peer.until_closed() == 4201
    return error


async def replayed(stage: Stage) -> None:
    gang = stage.gang
    key, name = await gang.register("r1"), gang.name("r1")
    first, second = await gang.stranger(), await gang.stranger()
    good = proof(key, await challenge(first, name), name)
    await challenge(second, name)
    await shut_out(second, good)


async def elsewhere(stage: Stage) -> None:
    gang = stage.gang
    key, name = await gang.register("r1"), gang.name("r1")
    for lie in ({"server": "another"}, {"nonce": "another"}):
        peer = await gang.stranger()
        await shut_out(peer, proof(key, await challenge(peer, name), name, **lie))


async def weak_keys(stage: Stage) -> None:
    name = stage.gang.name("r1")
    for point in (bytes(32), b"\x01" + bytes(31), b"\xff" * 32):
        peer = await stage.gang.stranger()
        fields = {"robot": name, "token": stage.server.enroll(name), "public_key": point}
        error = await peer.refusal("register", **fields)
        assert_refused(error, "bad_frame", "key")


async def malleable(stage: Stage) -> None:
    gang = stage.gang
    key, name = await gang.register("r1"), gang.name("r1")
    peer = await gang.stranger()
    good = proof(key, await challenge(peer, name), name)["signature"]
    scalar = int.from_bytes(good[32:], "little") + ORDER
    await shut_out(peer, {"t": "prove", "signature": good[:32] + scalar.to_bytes(32, "little")})


async def odd_lengths(stage: Stage) -> None:
    name = stage.gang.name("r1")
    for length in (0, 63, 65):
        peer = await stage.gang.stranger()
        await challenge(peer, name)
        await peer.write({"t": "prove", "signature": bytes(length)})
        assert_refused(await peer.read(), "bad_frame", "64")


async def forged_tokens(stage: Stage) -> None:
    name = stage.gang.name("r1")
    for token in tampered(stage.server.token(name)).values():
        peer = await stage.gang.stranger()
        await shut_out(peer, {"t": "hello", "robot": name, "token": token})


async def other_names(stage: Stage) -> None:
    gang = stage.gang
    await gang.register("r2")
    token = stage.server.token(gang.name("r1"))
    await shut_out(await gang.stranger(), {"t": "hello", "robot": gang.name("r2"), "token": token})


async def expired(stage: Stage) -> None:
    name = stage.gang.name("r1")
    token = stage.server.token(name, expired=True)
    await shut_out(await stage.gang.stranger(), {"t": "hello", "robot": name, "token": token})


async def guesses(stage: Stage) -> None:
    gang = stage.gang
    key, name = await gang.register("r1"), gang.name("r1")
    for _ in range(30):
        peer = await gang.stranger()
        await shut_out(peer, {"t": "hello", "robot": name, "token": secrets.token_hex()})
    peer = await gang.stranger()
    assert (await peer.hello(name, key=key))["t"] == "welcome", "its own device is not shut out"


async def unknown_names(stage: Stage) -> None:
    gang, told = stage.gang, []
    await gang.register("known")
    for robot in ("known", "unknown"):
        peer, name = await gang.stranger(), gang.name(robot)
        asked = await challenge(peer, name)
        error = await shut_out(peer, proof(Ed25519PrivateKey.generate(), asked, name))
        told.append(error["message"].replace(name, ""))
    assert told[0] == told[1]


async def unanswered(stage: Stage) -> None:
    hello = f'{{"t":"hello","robot":"{stage.gang.name("r1")}"}}'.encode()
    silent = []
    for _ in range(50):
        raw = await RawSocket.upgraded(stage.server, Sec_WebSocket_Protocol="imserver.v1.json")
        raw.write(frame(TEXT, hello))
        silent.append(raw)
    for raw in silent:
        assert await raw.wait_end(HELLO_TIMEOUT_S + PATIENCE_S)


async def fifty_times(stage: Stage) -> None:
    gang = stage.gang
    name = gang.name("twin")
    token = stage.server.token(name)
    for _ in range(4):
        peer = await gang.stranger()
        await peer.hello(name, key=None, token=token)
    first = gang._peers[-4]
    assert await first.until_closed() == 4300
    assert (await peer.request("ping"))["t"] == "pong", "the latest one stays"


async def impatient(stage: Stage) -> None:
    for said in ({"t": "send", "id": 1, "conv": "g/x", "cid": "c", "body": 0},
                 {"t": "list_robots", "id": 1}, {"t": "whoami", "id": 1}):  # fmt: skip
        peer = await stage.gang.stranger()
        await peer.write(said)
        assert_refused(await peer.read(), "unauthenticated", "hello")


async def somebody_else(stage: Stage) -> None:
    peer = await stage.robot()
    await stage.gang.register("r2")
    await peer.write({"t": "hello", "robot": stage.gang.name("r2")})
    assert_refused(await peer.read(), "bad_frame", "open already")
    assert (await peer.request("whoami"))["result"]["robot"] == peer.robot


async def spent(stage: Stage) -> None:
    gang = stage.gang
    name = gang.name("r1")
    token = stage.server.enroll(name)
    for expected in (None, {"exists", "unauthenticated"}):
        peer = await gang.stranger()
        fields = {"robot": name, "token": token, "public_key": secrets.token_bytes(32)}
        if expected is None:
            fresh = Ed25519PrivateKey.generate()
            await peer.register(name, token=token, key=fresh)
        else:
            assert_refused(await peer.refusal("register", **fields), expected)


INPUTS: Final = (
    Input("a proof of another connection", Story("`unauthenticated`, closes", replayed)),
    Input("a proof for another server, or over another nonce",
          Story("`unauthenticated`, closes", elsewhere)),
    Input("a public key of small order, or no point", Story("`bad_frame`", weak_keys)),
    Input("a signature whose S has the order added", Story("`unauthenticated`, closes", malleable)),
    Input("a signature of 0, 63 or 65 bytes", Story("`bad_frame`", odd_lengths)),
    Input("a token that was changed, cut, doubled, or is a JWT with alg none",
          Story("`unauthenticated`, closes", forged_tokens)),
    Input("a token of another robot's", Story("`unauthenticated`, closes", other_names)),
    Input("a token that has expired", Story("`unauthenticated`, closes", expired)),
    Input("an enrolment token for the second time", Story("`exists`", spent)),
    Input("guesses at a robot's token, over and over",
          Story("`unauthenticated`, closes each; the robot itself comes in", guesses)),
    Input("a name that is not registered",
          Story("`unauthenticated`, in the words for a wrong key", unknown_names)),
    Input("50 challenges that nobody answers", Story("closes at the hello deadline", unanswered)),
    Input("one device on several connections", Story("`bye` 4300 to the older ones", fifty_times)),
    Input("requests before hello", Story("`unauthenticated`", impatient)),
    Input("a hello as somebody else within a session", Story("`bad_frame`", somebody_else)),
)  # fmt: skip
