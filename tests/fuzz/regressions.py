"""Inputs that once showed a fault, smallest form, with the fault's name."""

from typing import Final

from tests.fuzz.given import Input

REGRESSIONS: Final[dict[str, tuple[str, Input]]] = {
    "an id that no codec but JSON can write": (
        "frames",
        Input("json", (b'{"":"","id":-9223372036854775809}',)),
    ),
    "keys that are the same in JSON": ("bodies", Input("msgpack", (b"\x82\x01\xc0\xa11\xc0",))),
    "a message that is no UTF-8, before a goodbye in the same piece": (
        "streams",
        Input("json", (b"\x81\x81\x00\x00\x00\x00\xff\x88\x82\x00\x00\x00\x00\x03\xe8",)),
    ),
    "a goodbye within a message": (
        "streams",
        Input("msgpack", (b"\x02\x80\x00\x00\x00\x00\x88\x82\x00\x00\x00\x00\x03\xe8",)),
    ),
    "a wait that ends before it begins": (
        "robots",
        Input(
            "json online",
            (
                b'{"t":"bye","code":4100,"reason":"","retry_after":-809}',
                b'{"t":"head","conv":"g/new","epoch":"e1","seq":1}',
            ),
        ),
    ),
    "a run that does not go forwards": (
        "robots",
        Input(
            "json online",
            (
                (
                    b'{"t":"deliver","conv":"g/dock","epoch":"e1","events":['
                    b'{"seq":9,"ts":2,"sender":"","cid":"","kind":"","body":0},'
                    b'{"seq":1,"ts":2,"sender":"","cid":"","kind":"","body":0},'
                    b'{"seq":11,"ts":2,"sender":"","cid":"","kind":"","body":0}]}'
                ),
            ),
        ),
    ),
    "a hole from before the beginning of a log": (
        "robots",
        Input(
            "json online",
            (
                b'{"t":"head","conv":"g/new","epoch":"","seq":0}',
                b'{"t":"gap","conv":"g/dock","epoch":"e2","from":-9223372036854775808,"to":0,"why":"restored"}',
                b'{"t":"head","conv":"g/other","epoch":"e1","seq":9}',
            ),
        ),
    ),
    "a body that is no UTF-8 inside": (
        "robots",
        Input(
            "msgpack online",
            (
                (
                    b"\x84\xa1t\xa7deliver\xa4conv\xa6g/dock\xa5epoch\xa2e1\xa6events\x91\x86\xa3seq\x01"
                    b"\xa2ts\x00\xa6sender\xa0\xa3cid\xa0\xa4kind\xa0\xa4body\xa3\xed\xbf\xbf"
                ),
            ),
        ),
    ),
    "the bytes of a frame that waited, forgotten with the answer before it": (
        "sessions",
        Input(
            "json open",
            (b'{"t":"create_group","id":2,"name":"a"}', b'{"t":"hello","robot":""}'),
        ),
    ),
}
