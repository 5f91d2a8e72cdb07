"""For operators: is it alive, is it ready, what does it count."""

import math
from collections.abc import Awaitable, Callable
from typing import Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from imserver.access.http.routes import Routes
from imserver.core.clock import Clock
from imserver.core.errors import STORE_TROUBLE

PROBE_INTERVAL_S: Final = 1.0
"""A probe is a durable write: strangers who ask more often get the last good answer."""


class Operations(Routes):
    """The routes for operators.

    ``probe`` returns if the store can be read and written, and raises `StoreUnavailable` or `StoreFailed`.
    """

    def __init__(
        self,
        *,
        probe: Callable[[], Awaitable[None]],
        is_draining: Callable[[], bool],
        registry: CollectorRegistry,
        clock: Clock,
    ) -> None:
        self._probe = probe
        self._is_draining = is_draining
        self._registry = registry
        self._clock = clock
        self._probed_s = -math.inf

    def handlers(self) -> list[HTTPRouteHandler]:
        return [
            get("/healthz", media_type="text/plain")(self.healthz),
            get("/readyz", media_type="text/plain")(self.readyz),
            get("/metrics", media_type=CONTENT_TYPE_LATEST)(self.metrics),
        ]

    async def healthz(self) -> str:
        """Tell that the process runs and its loop turns."""
        return "ok\n"

    async def readyz(self) -> Response[str]:
        """Tell whether the node serves: 200, or 503 with the reason."""
        if self._is_draining():
            return Response("draining\n", status_code=503)
        if self._clock.monotonic_s() - self._probed_s < PROBE_INTERVAL_S:
            return Response("ready\n")
        try:
            await self._probe()
        except STORE_TROUBLE as exc:
            return Response(f"{exc}\n", status_code=503)
        self._probed_s = self._clock.monotonic_s()
        return Response("ready\n")

    async def metrics(self) -> Response[bytes]:
        """Give the metrics in Prometheus' text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
