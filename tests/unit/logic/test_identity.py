"""Registration and proof: what is accepted, and every refusal."""

from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imserver.core.acts import Act, ActKind, KeyReplaced, key_fingerprint
from imserver.core.errors import Refusal, StoreUnavailable
from imserver.core.model import RobotRecord
from imserver.core.scopes import ADMIN, WHOLE
from imserver.core.tokens import TokenAuthority, bearer, enrolment
from imserver.data.memory.administration import MemoryAdministration
from imserver.logic import identity
from imserver.protocol.client_frames import Hello, Register, RotateKey
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.names import RobotName
from imserver.protocol.proof import rotation_text
from tests.unit.logic.logic_tier import LogicTier, peer_of

KEY = Ed25519PrivateKey.from_private_bytes(b"r" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
HOUR_MS = 3_600_000


def enrol_token(tier: LogicTier, robot: str = "r1", *, groups: tuple[str, ...] = ()) -> str:
    claims = enrolment(
        robot, token_id=tier.ids.token(), now_ms=tier.clock.ms, ttl_ms=HOUR_MS, groups=groups
    )
    return tier.authority.mint(claims)


def bearer_token(tier: LogicTier, robot: str = "r1", *, admin: bool = False) -> str:
    claims = bearer(
        robot,
        token_id=tier.ids.token(),
        now_ms=tier.clock.ms,
        ttl_ms=HOUR_MS,
        scopes=[ADMIN if admin else WHOLE],
    )
    return tier.authority.mint(claims)


def register(token: str, *, robot: str = "r1", key: bytes = PUBLIC) -> Register:
    return Register(1, robot, token, key)


def signed(
    tier: LogicTier, nonce: str, *, key: Ed25519PrivateKey = KEY, robot: str = "r1", device: str = "main"
) -> bytes:  # fmt: skip
    """Sign as the wire's description says, written down a second time."""
    server = tier.authority.server_id
    return key.sign(f"imserver.v1 {server} {nonce} {robot} {device}".encode())


async def refused(work: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await work
    return caught.value


# Registration.


async def test_a_robot_is_registered_with_its_key_and_in_its_groups(tier: LogicTier) -> None:
    await tier.identity.register(register(enrol_token(tier, groups=("g/a",))))
    record = await tier.store.robot(RobotName("r1"))
    assert record == RobotRecord(RobotName("r1"), PUBLIC, tier.clock.ms)
    group = await tier.store.conversation("g/a")  # type: ignore[arg-type]
    assert group is not None and list(group.members) == ["r1"]


async def test_an_enrolment_token_is_good_once(tier: LogicTier) -> None:
    token = enrol_token(tier)
    await tier.identity.register(register(token))
    other = OTHER_KEY.public_key().public_bytes_raw()
    refusal = await refused(tier.identity.register(register(token, key=other)))
    assert refusal.code is ErrorCode.UNAUTHENTICATED and "before" in refusal.message


async def test_a_robot_that_lost_the_answer_registers_again_and_finishes_what_was_begun(
    tier: LogicTier,
) -> None:
    frame = register(enrol_token(tier, groups=("g/a",)))
    tier.store.fails.append(StoreUnavailable("full"))
    assert (await refused(tier.identity.register(frame))).code is ErrorCode.UNAVAILABLE
    await tier.identity.register(frame)
    await tier.identity.register(frame)
    (created,) = tier.store._logs["g/a"].events
    assert created.sender == "r1"


async def test_a_name_with_a_key_is_taken_for_good(tier: LogicTier) -> None:
    await tier.identity.register(register(enrol_token(tier)))
    other = OTHER_KEY.public_key().public_bytes_raw()
    refusal = await refused(tier.identity.register(register(enrol_token(tier), key=other)))
    assert refusal.code is ErrorCode.EXISTS


async def test_a_refused_registration_does_not_spend_the_token(tier: LogicTier) -> None:
    token = enrol_token(tier)
    await refused(tier.identity.register(register(token, key=bytes(32))))
    await tier.identity.register(register(token))


async def test_an_expired_token_is_refused(tier: LogicTier) -> None:
    token = enrol_token(tier)
    tier.clock.ms += HOUR_MS
    refusal = await refused(tier.identity.register(register(token)))
    assert refusal.code is ErrorCode.UNAUTHENTICATED and "expired" in refusal.message


async def test_a_token_enrols_its_own_robot_only(tier: LogicTier) -> None:
    refusal = await refused(tier.identity.register(register(enrol_token(tier), robot="r2")))
    assert refusal.code is ErrorCode.UNAUTHENTICATED and "r1" in refusal.message


async def test_a_bearer_token_does_not_register(tier: LogicTier) -> None:
    refusal = await refused(tier.identity.register(register(bearer_token(tier))))
    assert refusal.code is ErrorCode.UNAUTHENTICATED


async def test_a_token_of_another_deployment_is_refused(tier: LogicTier) -> None:
    claims = enrolment("r1", token_id=tier.ids.token(), now_ms=tier.clock.ms, ttl_ms=HOUR_MS)
    token = TokenAuthority(OTHER_KEY).mint(claims)
    assert (await refused(tier.identity.register(register(token)))).code is (
        ErrorCode.UNAUTHENTICATED
    )


@pytest.mark.parametrize("token", ["", "junk", "imt1..", "imt1.e30.AAAA", "x" * 20_000])
async def test_what_is_no_token_is_refused(tier: LogicTier, token: str) -> None:
    for work in (
        tier.identity.register(register(token)),
        tier.identity.bear(Hello("r1"), token),
    ):
        refusal = await refused(work)
        assert refusal.code is ErrorCode.UNAUTHENTICATED and len(refusal.message) < 400


@pytest.mark.parametrize("robot", ["", "a b", "-r", "r" * 65, "r/1"])
async def test_a_bad_name_is_a_bad_frame(tier: LogicTier, robot: str) -> None:
    token = enrol_token(tier)
    for work in (
        tier.identity.register(register(token, robot=robot)),
        tier.identity.bear(Hello(robot), token),
        tier.identity.prove(Hello(robot), nonce="n", signature=bytes(64)),
        tier.identity.prove(Hello("r1", robot), nonce="n", signature=bytes(64)),
    ):
        assert (await refused(work)).code is ErrorCode.BAD_FRAME


async def test_a_robot_known_by_a_bearer_token_may_still_get_its_key(tier: LogicTier) -> None:
    await tier.identity.bear(Hello("r1"), bearer_token(tier))
    await tier.identity.register(register(enrol_token(tier)))
    record = await tier.store.robot(RobotName("r1"))
    assert record is not None and record.public_key == PUBLIC


# Keys that prove nothing.

P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
Point = tuple[int, int]


def add(one: Point, other: Point) -> Point:
    """Add two points of edwards25519 (RFC 8032, 5.1.4, in plain coordinates)."""
    (x1, y1), (x2, y2) = one, other
    k = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P) % P
    return x, y


def times(n: int, point: Point) -> Point:
    result = (0, 1)
    while n:
        if n & 1:
            result = add(result, point)
        point, n = add(point, point), n >> 1
    return result


def with_y(y: int) -> Point | None:
    """Return a point of the curve with this y, if there is one."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    for root in (x, x * SQRT_M1 % P):
        if root * root % P == square:
            return root, y
    return None


def small_order_points() -> set[Point]:
    """Return the points of small order: what is left of any point times the group's large prime."""
    large_prime = 2**252 + 27742317777372353535851937790883648493
    for y in range(2, 100):
        point = with_y(y)
        if point is not None:
            left = times(large_prime, point)
            found = {times(n, left) for n in range(8)}
            if len(found) == 8:
                return found
    raise AssertionError("one of so many points has full order")


def encodings_of_small_order() -> list[bytes]:
    """Return every 32 bytes that decode to such a point, the unusual spellings included."""
    ys = {y for _, y in small_order_points()}
    spelled = {spelling for y in ys for spelling in (y, y + P) if spelling < 2**255}
    return sorted(
        (spelling | sign << 255).to_bytes(32, "little") for spelling in spelled for sign in (0, 1)
    )


def test_there_are_eight_points_of_small_order_and_the_list_has_their_y() -> None:
    points = small_order_points()
    assert len(points) == 8
    assert {y for _, y in points} == identity._SMALL_ORDER_Y


def test_they_have_fourteen_spellings() -> None:
    assert len(encodings_of_small_order()) == 14


@pytest.mark.parametrize("key", encodings_of_small_order(), ids=bytes.hex)
async def test_a_key_of_small_order_is_refused_in_every_spelling(
    tier: LogicTier, key: bytes
) -> None:
    refusal = await refused(tier.identity.register(register(enrol_token(tier), key=key)))
    assert refusal.code is ErrorCode.BAD_FRAME and "public_key" in refusal.message


def test_generated_keys_are_taken() -> None:
    for n in range(50):
        key = Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)
        identity._check_key(key.public_key().public_bytes_raw())


def test_the_stand_in_is_a_point_of_the_curve_so_that_checking_takes_as_long() -> None:
    y = int.from_bytes(identity._STAND_IN, "little")
    assert y == 4 * pow(5, P - 2, P) % P and with_y(y) is not None


# Proof.


async def registered(tier: LogicTier) -> None:
    await tier.identity.register(register(enrol_token(tier)))


async def test_a_signature_over_the_challenge_proves_the_name(tier: LogicTier) -> None:
    await registered(tier)
    nonce = tier.identity.new_nonce()
    hello = Hello("r1", "spare")
    signature = signed(tier, nonce, device="spare")
    warrant = await tier.identity.prove(hello, nonce=nonce, signature=signature)
    assert (warrant.robot, warrant.scopes.texts) == ("r1", ("*",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": OTHER_KEY},
        {"device": "other"},
        {"robot": "r2"},
        {"nonce": "another"},
    ],
)
async def test_a_signature_over_anything_else_proves_nothing(
    tier: LogicTier, wrong: dict[str, Any]
) -> None:
    await registered(tier)
    signature = signed(tier, **({"nonce": "n"} | wrong))
    refusal = await refused(tier.identity.prove(Hello("r1"), nonce="n", signature=signature))
    assert refusal.code is ErrorCode.UNAUTHENTICATED


async def test_a_signature_for_another_deployment_proves_nothing(tier: LogicTier) -> None:
    await registered(tier)
    signature = KEY.sign(b"imserver.v1 im-other n r1 main")
    refusal = await refused(tier.identity.prove(Hello("r1"), nonce="n", signature=signature))
    assert refusal.code is ErrorCode.UNAUTHENTICATED


async def test_unknown_robots_and_wrong_signatures_get_the_same_answer(tier: LogicTier) -> None:
    await registered(tier)
    await tier.identity.bear(Hello("r2"), bearer_token(tier, "r2"))
    answers = []
    for robot in ("r1", "r2", "r3"):
        signature = signed(tier, "n", key=OTHER_KEY, robot=robot)
        refusal = await refused(tier.identity.prove(Hello(robot), nonce="n", signature=signature))
        answers.append((refusal.code, refusal.message.replace(robot, "R")))
    assert answers[0] == answers[1] == answers[2]


async def test_no_two_challenges_are_alike(tier: LogicTier) -> None:
    assert tier.identity.new_nonce() != tier.identity.new_nonce()


# Bearer tokens.


@pytest.mark.parametrize("admin", [False, True])
async def test_a_bearer_token_proves_its_name_and_scope(tier: LogicTier, admin: bool) -> None:
    token = bearer_token(tier, admin=admin)
    warrant = await tier.identity.bear(Hello("r1"), token)
    assert (warrant.robot, warrant.scopes.admin) == ("r1", admin)
    assert await tier.store.robot(RobotName("r1")) is not None


async def test_a_bearer_token_keeps_the_key_of_a_registered_robot(tier: LogicTier) -> None:
    await registered(tier)
    await tier.identity.bear(Hello("r1"), bearer_token(tier))
    record = await tier.store.robot(RobotName("r1"))
    assert record is not None and record.public_key == PUBLIC


async def test_a_bearer_token_is_good_for_its_own_name_only(tier: LogicTier) -> None:
    refusal = await refused(tier.identity.bear(Hello("r2"), bearer_token(tier)))
    assert refusal.code is ErrorCode.UNAUTHENTICATED
    assert await tier.store.robot(RobotName("r2")) is None


async def test_an_expired_bearer_token_is_refused(tier: LogicTier) -> None:
    token = bearer_token(tier)
    tier.clock.ms += HOUR_MS
    assert (await refused(tier.identity.bear(Hello("r1"), token))).code is (
        ErrorCode.UNAUTHENTICATED
    )


async def test_an_enrolment_token_bears_nothing(tier: LogicTier) -> None:
    refusal = await refused(tier.identity.bear(Hello("r1"), enrol_token(tier)))
    assert refusal.code is ErrorCode.UNAUTHENTICATED


# Replacing a key.


class AwayAdministration(MemoryAdministration):
    """One that takes no acts."""

    async def perform(self, acts: Sequence[Act]) -> list[bool]:
        raise StoreUnavailable("the disk is away")


async def test_who_could_not_replace_its_key_has_come_with_the_old_one(tier: LogicTier) -> None:
    await tier.identity.register(register(enrol_token(tier)))
    new = OTHER_KEY.public_key().public_bytes_raw()
    session = await tier.session("r1")
    session.warrant = session.warrant._replace(key=key_fingerprint(PUBLIC))
    text = rotation_text(
        server=tier.identity.server_id, session=session.id, robot="r1", old=PUBLIC, new=new
    )
    asked = RotateKey(1, new, KEY.sign(text), OTHER_KEY.sign(text))
    there = tier.ledger._administration
    tier.ledger._administration = AwayAdministration({}, set())
    with pytest.raises(StoreUnavailable):
        await tier.identity.rotate(session, asked)
    tier.ledger._administration = there
    change, robot = KeyReplaced(PUBLIC, bytes(range(32))), RobotName("r1")
    await tier.ledger.perform(
        [tier.ledger.act(ActKind.KEY_ROTATED, "r1", robot=robot, change=change)]
    )
    assert peer_of(session).closed == (CloseCode.KEY_REPLACED, "r1 has a new key; prove that one")
