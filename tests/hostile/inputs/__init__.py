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
    Absent("tokens and robots revoked, members removed, keys changed while connected",
           "need an administrator beside: `tests/e2e/test_revocation.py`, `tests/e2e/test_rotation.py`"),
    Absent("uploads that are broken off, thousands of ranges, names with line ends, pages as pictures",
           "`tests/hostile/test_uploads.py`, `tests/e2e/http/test_files.py`"),
    Absent("sealed bodies that are replayed, moved, reordered or for others",
           "the server cannot read them: `tests/unit/client_sdk/`, `tests/e2e/test_sealed.py`"),
    Absent("stages of a stream out of order",
           "this server carries no streams of chunks: `unsupported`"),
    Absent("URLs that the server would fetch", "there are none: it opens no connection for a client"),
    Absent("templates, spreadsheets and pages made of bodies",
           "the server makes none; texts are delivered as they are, and escaped by whoever shows them"),
    Absent("JWTs with several algorithms, key ids and audiences",
           "tokens are no JWTs: one format, one algorithm, one key"),
    Absent("tokens to resume a session by", "there are none: who comes back proves itself again"),
)  # fmt: skip
