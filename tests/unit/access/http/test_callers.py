"""Whose word counts: from the head of a request to the end of its body."""

import json
from typing import Any

import pytest

from tests.unit.access.http.api_in_memory import Api
from tests.unit.access.http.raw_http import RawHttp, head

MINTING = "/v1/tokens", {"kind": "bearer", "robot": "r1"}
SENDING = "/v1/groups/dock/events", {"body": "hi"}
CREATING = "/v1/groups", {"name": "yard"}


async def begin(api: Api, path: str, text: bytes) -> RawHttp:
    """Begin a request of the admin r2, of which one byte is missing yet."""
    token = f"Authorization: Bearer {api.node.bearer_token('r2', admin=True)}"
    size = f"Content-Length: {len(text)}"
    http = RawHttp(api)
    kind = "Content-Type: application/json"
    await http.feed(head("POST", path, token, kind, "Idempotency-Key: c1", size), text[:-1])
    return http


@pytest.mark.parametrize("asked", [MINTING, SENDING, CREATING], ids=["mint", "send", "create"])
async def test_who_is_revoked_while_a_request_comes_in_does_nothing_by_it(
    api: Api, asked: tuple[str, Any]
):
    path, text = asked[0], json.dumps(asked[1]).encode()
    http = await begin(api, path, text)
    revoked = await api.ask("DELETE", "/v1/robots/r2", robot="r1", admin=True)
    assert revoked.status == 204 and http.statuses == []
    await http.feed(text[-1:])
    assert http.statuses == [401]
    assert await api.node.store.administration.tokens(robot=None, after="", limit=9) == []
    groups = await api.node.store.groups(member=None, after="", limit=9)
    assert [(group.conv, group.head) for group in groups] == [("g/dock", 1)]


async def test_what_others_are_revoked_for_ends_no_request(api: Api):
    path, text = MINTING[0], json.dumps(MINTING[1]).encode()
    http = await begin(api, path, text)
    await api.ask("DELETE", "/v1/robots/r3", robot="r1", admin=True)
    await http.feed(text[-1:])
    assert http.statuses == [201]
