"""The description at /schema is kept: whatever is asked, each answer is one that it names, and no fault.

schemathesis makes the requests, most of them wrong in some way. ``make fuzz-http`` runs many more of them.
"""

import os
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.http.robot_over_http import TIMEOUT_S
from tests.e2e.http.uploads import BYTES
from tests.e2e.server_process import ServerProcess

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))
IS_LONG = "FUZZ_EXAMPLES" in os.environ
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    missing_required_header,
    ignored_auth,
]
KNOWN = {"name": "dock", "one": "r1", "other": "r2", "robot": "r2"}
"""What is there: a name made at random finds nothing, and then there is little to get wrong."""

NO_WAITING = {"IMSERVER_HTTP_STAYS_MAX": "1", "IMSERVER_HTTP_WAIT_MAX_S": "0.01"}
"""The one stream that the robot may have is taken by the test: all others are refused, and none goes on."""

schemathesis.serializer.alias(BYTES, "application/octet-stream")

pytestmark = [
    pytest.mark.one_node(reason="each node counts the one stay that is taken before"),
    pytest.mark.process,
    pytest.mark.timeout(3_600 if IS_LONG else 240),
]


class Described:
    """A server, its description, and the headers of a robot that may do everything."""

    def __init__(self, server: ServerProcess, auth: dict[str, str]) -> None:
        self.server = server
        self.auth = auth
        self.schema = schemathesis.openapi.from_url(f"{server.url}/schema")

    def operations(self) -> list[Any]:
        """Return the operations, those that end something last."""
        found: list[Any] = [cast(Any, result).ok() for result in self.schema.get_all_operations()]
        return sorted(found, key=lambda operation: operation.method == "delete")


@pytest.fixture
def described(start_server: Any) -> Iterator[Described]:
    server = start_server(environment=NO_WAITING)
    auth = {"Authorization": f"Bearer {server.token('r1', admin=True)}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=auth, timeout=TIMEOUT_S) as http:
        http.get("/whoami", headers={"Authorization": f"Bearer {server.token('r2')}"})
        for name in ("held", "dock"):
            body = {"name": name, "members": ["r2"]}
            assert http.post("/groups", json=body).status_code == 201
        line = http.post(
            "/direct/r1/r2/events", json={"body": 1}, headers={"Idempotency-Key": "c1"}
        )
        assert line.status_code == 201
        file = {"Tus-Resumable": "1.0.0", "Upload-Length": "3", "Content-Type": BYTES}
        begun = http.post("/files", headers=file, content=b"abc")
        assert begun.status_code == 201
        KNOWN["file"] = begun.headers["Location"].rpartition("/")[2]
        with http.stream("GET", "/groups/held/events/stream") as answer:
            held = answer.iter_bytes()
            next(held)
            yield Described(server, auth)


def test_no_answer_is_a_fault_or_undocumented(described: Described):
    operations = described.operations()
    assert len(operations) > 30
    for operation in operations:
        _fuzz(described, operation)
    assert described.server.running
    assert not described.server.tracebacks()


def _fuzz(described: Described, operation: Any) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=not IS_LONG,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), is_known=st.booleans())
    def ask(case: Any, *, is_known: bool) -> None:
        if is_known:
            case.path_parameters |= {
                name: KNOWN[name] for name in case.path_parameters if name in KNOWN
            }
        answer = case.call(headers=described.auth, timeout=TIMEOUT_S)
        case.validate_response(answer, checks=CHECKS)

    ask()
