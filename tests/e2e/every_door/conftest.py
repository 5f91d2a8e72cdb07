"""The sites on which the scenarios run, and who takes part."""

from collections.abc import AsyncIterator

import pytest

from tests.e2e.every_door.company import CASTS, Company
from tests.e2e.every_door.site import Site

SITES = {"plain": "shared_server", "tls": "shared_tls_server", "cluster": "shared_cluster"}
"""By name, the fixture of one server or of several nodes, which together are a site."""


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> Site:
    """Where the scenario takes place."""
    return Site.of(*request.getfixturevalue(SITES[request.param]).nodes)


@pytest.fixture(params=CASTS)
async def company(request: pytest.FixtureRequest, site: Site) -> AsyncIterator[Company]:
    """Robots that come in by the doors of a cast: by one door all of them, or each by another."""
    company = Company(site, CASTS[request.param])
    yield company
    await company.aclose()
