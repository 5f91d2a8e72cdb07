"""The router within one process keeps the contract, and is immediate."""

import pytest

from imserver.route.local import LocalRouter
from tests.contract.router_contract import A, Ear, RouterContract, run, signal


class TestLocalRouter(RouterContract):
    @pytest.fixture
    def router(self) -> LocalRouter:
        return LocalRouter()

    async def test_what_is_published_has_arrived_when_the_call_returns(
        self, router: LocalRouter, ear: Ear
    ) -> None:
        published = run(A, 1)
        router.publish(published)
        router.publish_signal(signal(1))
        assert ear.runs[0] is published and len(ear.signals) == 1
