"""What the contract suites of engines that are servers share."""

from collections.abc import Iterator

import pytest

from tests.mongo_server import MongoSet


@pytest.fixture(scope="session")
def mongo_set() -> Iterator[MongoSet]:
    """A replica set of one member, for all tests of a run; each takes a database of its own."""
    servers = MongoSet().start()
    yield servers
    servers.stop()
