"""Every case of the Autobahn testsuite's groups 1 to 10, and sizes around the limit, against the endpoint."""

import secrets
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import end
from tests.e2e.server_process import ServerProcess
from tests.hostile.websocket_cases import CASES
from tests.hostile.websocket_cases.case import Case
from tests.hostile.websocket_cases.endpoint import Endpoint

IN_THE_SUITE = {
    "1.1": 8, "1.2": 8, "2": 11, "3": 7, "4.1": 5, "4.2": 5, "5": 20,
    "6.1": 3, "6.2": 4, "6.3": 2, "6.4": 4, "6.5": 5, "6.6": 11, "6.7": 4, "6.8": 2, "6.9": 4, "6.10": 3,
    "6.11": 5, "6.12": 8, "6.13": 5, "6.14": 10, "6.15": 1, "6.16": 3, "6.17": 5, "6.18": 5, "6.19": 5,
    "6.20": 7, "6.21": 8, "6.22": 34, "6.23": 7,
    "7.1": 6, "7.3": 6, "7.5": 1, "7.7": 13, "7.9": 9, "7.13": 2,
    "9.1": 6, "9.2": 6, "9.3": 9, "9.4": 9, "9.5": 6, "9.6": 6, "9.7": 6, "9.8": 6, "10.1": 1,
}  # fmt: skip
"""How many cases each group has, by the suite's own count: 301 together."""

RUNS = [(case, codec) for case in CASES for codec in case.codecs]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server, which is as well after all the cases as before them."""
    directory = tmp_path_factory.mktemp("endpoint")
    server = ServerProcess(
        directory / "data", environment={"IMSERVER_SERVER_HELLO_TIMEOUT_S": "60"}
    )
    server.start()
    pid = server.pid
    yield server
    assert server.pid == pid
    assert not server.tracebacks(), server.stderr()
    end(server)


@pytest.mark.parametrize(
    ("case", "codec"), RUNS, ids=[f"{case.number} {codec} {case.says}" for case, codec in RUNS]
)
async def test_the_endpoint_does_what_the_case_asks_for(
    endpoint: ServerProcess, case: Case, codec: str
) -> None:
    name = secrets.token_hex(4)
    session = await Endpoint.open(endpoint, codec, f"r-{name}", group=name)
    await session.perform(case)


def test_no_case_of_the_suite_is_missing() -> None:
    numbers = [case.number for case in CASES if not case.number.startswith("L.")]
    expected = [
        f"{group}.{n}" for group, count in IN_THE_SUITE.items() for n in range(1, count + 1)
    ]
    assert sorted(numbers) == sorted(expected)
    assert Counter(numbers).most_common(1)[0][1] == 1
