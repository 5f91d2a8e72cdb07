"""A short run of every target, what was found before, and that the fuzzer finds what is wrong."""

import random
from collections.abc import Iterator

import pytest

from imserver.access import messages, whole_frames
from imserver.protocol import bodies
from tests.fuzz.campaign import run
from tests.fuzz.given import Breach, Input, Target
from tests.fuzz.regressions import REGRESSIONS
from tests.fuzz.report import table
from tests.fuzz.shrinking import shrunk
from tests.fuzz.targets import TARGETS
from tests.fuzz.targets.streams import Streams

INPUTS = {
    "frames": 20_000,
    "bodies": 10_000,
    "server_frames": 6_000,
    "streams": 1_500,
    "robots": 1_500,
    "sessions": 400,
}
SEED = 20


@pytest.fixture(params=list(TARGETS))
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    target: Target = TARGETS[request.param]()
    yield target
    target.close()


def test_nothing_but_documented_refusals_comes_of_any_input(target: Target) -> None:
    account = run(target, INPUTS[target.name], seed=SEED)
    assert account.finding is None, table([account])
    assert account.inputs == INPUTS[target.name]


@pytest.mark.parametrize("name", REGRESSIONS)
def test_what_was_found_once_stays_repaired(name: str) -> None:
    kind, given = REGRESSIONS[name]
    target: Target = TARGETS[kind]()
    try:
        target.check(given)
    finally:
        target.close()


def test_the_same_seed_gives_the_same_inputs() -> None:
    def inputs(seed: int) -> list[Input]:
        dice, target = random.Random(seed), Streams()
        made = [target.make(dice) for _ in range(50)]
        return made + [target.mutate(one, made[0], dice) for one in made]

    assert inputs(1) == inputs(1) != inputs(2)


# Faults put in on purpose.


def blind_to_reserved_bits(
    data: bytes, first_byte: int, *, start: int, bytes_max: int, most: int
) -> tuple[list[bytes], int]:
    """Take frames as the short cut does, but with any of the reserved bits."""
    plain = bytearray(data)
    plain[start : start + 1] = bytes(byte & 0x8F for byte in plain[start : start + 1])
    return TAKE(bytes(plain), first_byte, start=start, bytes_max=bytes_max, most=most)


TAKE = whole_frames.take


def test_a_short_cut_that_takes_what_it_should_leave_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(whole_frames, "take", blind_to_reserved_bits)
    found = run(Streams(), 20_000, seed=SEED + 2).finding  # one that is found where it shrinks well
    assert found is not None and found.error.startswith("Breach")
    assert len(b"".join(found.given.pieces)) <= 40, "one frame is enough to show it"


def test_a_parser_that_joins_fragments_without_looking_at_them_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        messages.Fragments, "add", lambda self, frame: self._parts.extend(frame.data)
    )
    assert run(Streams(), 20_000, seed=SEED).finding is not None


def test_a_check_that_looks_at_no_keys_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_check_number", lambda _key, _value: None)
    assert run(TARGETS["bodies"](), 100_000, seed=SEED).finding is not None


class Doubtful:
    """A target that fails at two bytes anywhere in what it is given."""

    name = "doubtful"
    share = 1

    def make(self, dice: random.Random) -> Input:
        return Input("", tuple(dice.randbytes(20) for _ in range(3)))

    def mutate(self, given: Input, other: Input, dice: random.Random) -> Input:
        return self.make(dice)

    def check(self, given: Input) -> str:
        if any(b"\x07" in piece and b"\x08" in piece for piece in given.pieces):
            raise Breach("seven and eight")
        return "fine"

    def close(self) -> None:
        """Hold nothing."""


def test_what_fails_is_shrunk_to_what_makes_it_fail() -> None:
    found = run(Doubtful(), 100_000, seed=SEED).finding
    assert found is not None
    assert sorted(b"".join(found.given.pieces)) == [7, 8] and len(found.given.pieces) == 1
    assert "seven and eight" in found.error and found.seed == SEED


def test_a_hang_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(_given: Input) -> str:
        while True:
            pass

    monkeypatch.setattr("tests.fuzz.watch.SECONDS_MAX", 0.2)
    monkeypatch.setattr("tests.fuzz.campaign.shrunk", lambda given, _fails: given)
    target = Doubtful()
    monkeypatch.setattr(target, "check", hang)
    found = run(target, 1, seed=SEED).finding
    assert found is not None and found.error.startswith("Hang")


def test_shrinking_gives_up_after_so_many_tries() -> None:
    given = Input("", (bytes(range(256)),))
    assert shrunk(given, lambda _: False, tries_max=10) == given
