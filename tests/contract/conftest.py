"""What the contract suites share beside MongoDB: a Redis Cluster, which takes seconds to form."""

from collections.abc import Iterator

import pytest

from tests.redis_cluster import RedisClusterServers, redis_cluster


@pytest.fixture(scope="session")
def shared_redis_cluster() -> Iterator[RedisClusterServers]:
    """Three masters, for all tests that leave them as they are; each uses a prefix of its own."""
    with redis_cluster() as cluster:
        yield cluster
