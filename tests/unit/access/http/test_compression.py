"""Compressed answers and compressed bodies: chosen, announced, and measured by what comes out."""

import gzip
import itertools
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from imserver.access.http import codings
from imserver.access.http.codings import CODINGS, Decoder, chosen
from imserver.core.settings import AccessSettings, Settings
from imserver.protocol.deflate import BadDeflate, InflatedTooLarge
from imserver.protocol.limits import Limits
from tests.unit.access.http.api_in_memory import Answer, Api, api_in_memory
from tests.unit.access.http.streaming import follow

DOCK = "/v1/groups/dock"
EVENTS = f"{DOCK}/events"
LONG = "word " * 1_000
FRAME_BYTES = 4_096
SMALL = Settings(limits=Limits(body_bytes_max=4_095, frame_bytes_max=FRAME_BYTES))
ENCODE: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}
DECODE: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "zstd": zstd.decompress}


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.5, gzip;q=0.8", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
        ("gzip;q=0", None),
        ("*", "zstd"),
        ("*;q=0, gzip", "gzip"),
        ("zstd;q=0, *", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("br, deflate", None),
        ("gzip;q=nonsense", None),
        ("gzip ; q=0.1", "gzip"),
    ],
)
def test_the_coding_that_the_client_would_rather_have_is_chosen(accepted: str, coding: str | None):
    assert chosen(accepted) == coding


@given(content=st.binary(max_size=5_000), cuts=st.lists(st.integers(0, 6_000)))
@pytest.mark.parametrize("coding", CODINGS)
def test_what_was_encoded_comes_out_in_whatever_pieces_it_comes(
    coding: str, content: bytes, cuts: list[int]
):
    coded = codings.encoded(coding, content)
    assert DECODE[coding](coded) == content
    decoder = Decoder(coding, bytes_max=len(content), coded_bytes_max=len(coded))
    edges = [0, *sorted(cuts), len(coded)]
    pieces = [coded[one:other] for one, other in itertools.pairwise(edges)]
    assert b"".join(map(decoder.feed, pieces)) == content
    decoder.check_ended()


@pytest.mark.parametrize("coding", CODINGS)
def test_of_a_bomb_no_more_is_made_than_one_byte_too_much(coding: str):
    bomb = ENCODE[coding](bytes(50_000_000))
    decoder = Decoder(coding, bytes_max=1_000, coded_bytes_max=100_000)
    with pytest.raises(InflatedTooLarge):
        decoder.feed(bomb)


def test_a_window_that_a_reader_need_not_have_is_refused():
    options = {zstd.CompressionParameter.window_log: 27}
    wide = zstd.ZstdCompressor(options=options)
    coded = wide.compress(bytes(300_000)) + wide.flush()
    with pytest.raises(BadDeflate):
        Decoder("zstd", bytes_max=1_000_000, coded_bytes_max=1_000_000).feed(coded)


def test_pieces_of_which_nothing_comes_out_have_an_end():
    decoder = Decoder("gzip", bytes_max=10, coded_bytes_max=100)
    decoder.feed(zlib.compressobj(wbits=31).flush(zlib.Z_SYNC_FLUSH))
    empty_block = b"\x00\x00\x00\xff\xff"
    assert [decoder.feed(empty_block) for _ in range(10)] == [b""] * 10
    with pytest.raises(InflatedTooLarge):
        decoder.feed(empty_block * 10)


async def fill(api: Api) -> None:
    """Let the group have something to tell."""
    await api.send("r1", DOCK, LONG, key="c1")


async def page(api: Api, accepted: str, **more: Any) -> Answer:
    """Return a page of the log, asked for with what is accepted."""
    return await api.ask(
        "GET", f"{EVENTS}?after=0", robot="r1", headers={"Accept-Encoding": accepted}, **more
    )


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_large_answer_is_compressed_for_who_accepts_it(api: Api, coding: str):
    await fill(api)
    plain, coded = await page(api, ""), await page(api, coding)
    assert coded.headers["content-encoding"] == coding
    assert coded.headers["content-length"] == str(len(coded.body))
    assert coded.headers["content-type"] == "application/json"
    assert DECODE[coding](coded.body) == plain.body
    assert len(coded.body) < len(plain.body) / 5
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == coded.headers["vary"] == "Accept-Encoding"


async def test_a_small_answer_is_not_compressed_but_a_cache_is_told_that_it_may_differ(api: Api):
    answer = await page(api, "gzip")
    assert "content-encoding" not in answer.headers
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.json["seq"] == 1


async def test_a_very_large_answer_is_compressed_beside_the_loop(api: Api):
    for number in range(30):
        await api.send("r1", DOCK, LONG, key=f"c{number}")
    answer = await page(api, "zstd")
    assert len(json.loads(zstd.decompress(answer.body))["events"]) == 31


async def test_a_refusal_and_the_description_are_compressed_too(api: Api):
    answer = await api.ask("GET", "/schema", headers={"Accept-Encoding": "gzip"})
    assert json.loads(gzip.decompress(answer.body))["openapi"]


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_a_stream_is_never_compressed(api: Api, accept: str):
    await fill(api)
    headers = {"Accept": accept, "Accept-Encoding": "gzip, zstd"}
    stream = await follow(api, headers=headers)
    await stream.until(lambda: LONG.encode() in stream.body)
    assert "content-encoding" not in stream.headers
    stream.lose()
    await stream.end()


async def test_nothing_is_compressed_where_it_is_switched_off():
    async with api_in_memory(Settings(access=AccessSettings(deflate=False))) as api:
        await fill(api)
        answer = await page(api, "gzip")
    assert "content-encoding" not in answer.headers


def pieces(content: bytes, size: int) -> list[bytes]:
    """Return content cut into pieces."""
    return [content[at : at + size] for at in range(0, len(content), size)]


async def post(api: Api, chunks: list[bytes], coding: str, *, key: str = "c1") -> Answer:
    """Send an event as a body in a coding."""
    headers = {"Idempotency-Key": key, "Content-Encoding": coding}
    return await api.ask("POST", EVENTS, robot="r1", chunks=chunks, headers=headers)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [7, 100_000])
async def test_a_body_may_come_compressed(api: Api, coding: str, size: int):
    coded = ENCODE[coding](json.dumps({"body": LONG}).encode())
    assert (await post(api, pieces(coded, size), coding)).status == 201
    answer = await page(api, "")
    assert answer.json["events"][-1]["body"] == LONG


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_body_of_the_limit_is_taken_and_one_byte_more_is_refused(coding: str):
    async with api_in_memory(SMALL) as api:
        shell = len(json.dumps({"body": ""}))
        for more, status in ((0, 201), (1, 413)):
            text = json.dumps({"body": "x" * (FRAME_BYTES - shell + more)})
            answer = await post(api, [ENCODE[coding](text.encode())], coding, key=f"c{more}")
            assert answer.status == status
        assert answer.code == "too_large"
        assert str(FRAME_BYTES) in answer.json["detail"]
        assert (await page(api, "")).json["seq"] == 2


async def test_a_body_that_its_coding_makes_longer_counts_by_what_comes_out():
    async with api_in_memory(SMALL) as api:
        text = json.dumps({"body": "x" * 4_000}).encode()
        stored = gzip.compress(text + b" " * (FRAME_BYTES - len(text)), compresslevel=0)
        assert len(stored) > FRAME_BYTES
        assert (await post(api, [stored], "gzip")).status == 201


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("damage", ["cut", "followed", "twice", "other", "none"])
async def test_a_body_that_is_not_in_its_coding_is_refused(api: Api, coding: str, damage: str):
    coded = ENCODE[coding](json.dumps({"body": LONG}).encode())
    damaged = {
        "cut": [coded[:-1]],
        "followed": [coded, b"x"],
        "twice": [coded + coded],
        "other": [b'{"body": 1}'],
        "none": [b""],
    }[damage]
    answer = await post(api, damaged, coding)
    assert (answer.status, answer.code) == (400, "bad_frame")
    assert (await page(api, "")).json["seq"] == 1
