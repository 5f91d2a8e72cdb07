"""The cases of the Autobahn testsuite's groups 12 and 13: compressed messages of every size."""

import json
import os
import random
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet
from tests.hostile.deflate_session import PLAIN, DeflateSession, Offer

MESSAGES: Final = int(os.environ.get("DEFLATE_MESSAGES", "2"))
"""Of each size; in the suite they are a thousand (``make deflate-cases``)."""

SIZES: Final = (
    *((size, 0) for size in (16, 64, 256, 1_024, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072)),
    *((size, 256) for size in (8_192, 16_384, 32_768, 65_536, 131_072)),
    *((131_072, cut) for cut in (1_024, 4_096, 32_768)),
)
"""Of the payload, and of the fragments into which what becomes of it is cut; 0 for one frame."""

OFFERS: Final = {
    "13.1": PLAIN,
    "13.2": Offer("permessage-deflate; server_no_context_takeover"),
    "13.3": Offer("permessage-deflate; server_max_window_bits=9", 9),
    "13.4": Offer("permessage-deflate; server_max_window_bits=15"),
    "13.5": Offer("permessage-deflate; server_no_context_takeover; server_max_window_bits=9", 9),
    "13.6": Offer("permessage-deflate; server_no_context_takeover; server_max_window_bits=15"),
    "13.7": Offer(
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=9, "
        "permessage-deflate; server_no_context_takeover, permessage-deflate",
        9,
    ),
}


def data(size: int) -> str:
    """Return JSON, as much of it as asked for."""
    rows = [{"id": n, "pose": [n / 8, -n], "name": f"r{n % 9}"} for n in range(size // 30 + 1)]
    return json.dumps(rows)[:size]


def words(size: int) -> str:
    """Return text of a language that has letters of two bytes."""
    dice = random.Random(12)
    known = ("der", "Roboter", "fährt", "über", "die", "Brücke", "und", "hält", "vor", "Tür")
    text = " ".join(dice.choice(known) for _ in range(size // 3 + 1))
    return text.encode()[:size].decode(errors="ignore")


def picture(size: int) -> bytes:
    """Return a picture of soft shades."""
    return bytes((x // 7 + x // 512 * 3) % 256 for x in range(size))


PAYLOADS: Final[dict[str, Callable[[int], Any]]] = {
    "12.1": data,
    "12.2": picture,
    "12.3": lambda size: words(size).encode(),
    "12.4": lambda size: random.Random(size).randbytes(size),
    "12.5": words,
}
CASES: Final = [
    *((group, payload, PLAIN) for group, payload in PAYLOADS.items()),
    *((group, data, offer) for group, offer in OFFERS.items()),
]


@pytest.mark.timeout(60 + MESSAGES * 10)
@pytest.mark.parametrize(("group", "payload", "offer"), CASES, ids=[case[0] for case in CASES])
async def test_messages_of_every_size_come_back_as_they_were(
    target: ServerProcess, gang: Fleet, group: str, payload: Callable[[int], Any], offer: Offer
) -> None:
    session = await DeflateSession.open(target, gang.name("r1"), offer)
    made = await session.request("create_group", name=gang.name("dock"))
    for size, cut in SIZES:
        body = payload(size)
        for _ in range(MESSAGES):
            await session.echo(made["result"]["conv"], body, cut)
    assert session.compressed_frames > 0 or group == "12.4"


def test_no_case_of_the_suite_is_missing() -> None:
    assert len(PAYLOADS) * len(SIZES) == 90 and len(OFFERS) * len(SIZES) == 126
