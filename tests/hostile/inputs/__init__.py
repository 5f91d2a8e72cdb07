"""The table of hostile inputs: what is sent, and what the server does.

``tests/hostile/test_inputs.py`` sends each of them, beside honest robots; docs/reference/hostile-inputs.md
is written from it. Variants by the hundred are in the modules beside: every field of every frame, every
malformed body, the cases of the Autobahn testsuite, compression.
"""

from typing import Final

from tests.hostile.inputs import application, handshakes, http, identity, tcp, websocket
from tests.hostile.inputs.attack import Absent, Input

GROUPS: Final[dict[str, tuple[Input, ...]]] = {
    "Raw TCP": tcp.INPUTS,
    "HTTP": http.INPUTS,
    "Opening handshakes of WebSockets": handshakes.INPUTS,
    "WebSocket frames": websocket.INPUTS,
    "Frames of the protocol": application.INPUTS,
    "Who one is": identity.INPUTS,
}

ABSENT: Final = (
    Absent("handshakes of TLS that are floods, noise, too old, or with wrong certificates",
           "need a server with TLS: `tests/hostile/test_tls.py`, `tests/e2e/test_tls.py`"),
    Absent("a handshake while the node drains",
           "ends the server: `tests/e2e/test_entrance.py` (503 with `Retry-After`)"),
    Absent("2,000 connections of one address",
           "`tests/e2e/test_entrance.py`; here one more than may be"),
    Absent("a client that reads nothing in a busy group",
           "takes a minute: `tests/hostile/test_floods.py`, `make pressure ONLY=stalled-readers`"),
    Absent("a client that answers no pings", "takes two ping intervals: "
           "`tests/unit/access/test_websocket_life.py`"),
    Absent("100,000 sends without reading an answer", "`tests/hostile/test_floods.py`"),
    Absent("one robot 50 times too fast, 200 that dribble, 1,000 that say nothing",
           "`make pressure ONLY=siege`, and a short form in `tests/pressure/test_pressure_short.py`"),
    Absent("a robot in 10,000 groups, groups of 100,000",
           "`make pressure ONLY=many-conversations`; a group has 10,000 members at most"),
    Absent("compressed messages of every size", "`tests/hostile/test_deflate_cases.py`"),
    Absent("tokens revoked, robots banned, keys changed while connected",
           "need an administrator beside: see the tests of the audit log and of revocation"),
    Absent("a duplicate key within a frame in JSON",
           "the last one counts, at every reader alike, since a body is stored as MessagePack once"),
    Absent("URLs that the server would fetch", "there are none: it opens no connection for a client"),
    Absent("templates, spreadsheets and pages made of bodies",
           "the server makes none; texts are delivered as they are, and escaped by whoever shows them"),
    Absent("JWTs with several algorithms, key ids and audiences",
           "tokens are no JWTs: one format, one algorithm, one key"),
    Absent("tokens to resume a session by", "there are none: who comes back proves itself again"),
)  # fmt: skip
