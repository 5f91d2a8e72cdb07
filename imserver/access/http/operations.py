"""For operators: is it alive, is it ready, what does it count."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from imserver.access.http.routes import Routes
from imserver.core.clock import Clock
from imserver.core.errors import STORE_TROUBLE

_log = logging.getLogger("imserver.http")

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
        self._is_in_trouble = False

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
        """Tell whether the node serves: 200, or 503 with the part that does not. Strangers may ask: what
        exactly is wrong with it, which may name other machines, is for the log."""
        if self._is_draining():
            return Response("draining\n", status_code=503)
        if self._clock.monotonic_s() - self._probed_s < PROBE_INTERVAL_S:
            return Response("ready\n")
        try:
            await self._probe()
        except STORE_TROUBLE as exc:
            self._note(exc)
            return Response("store: it cannot be read or written now\n", status_code=503)
        self._is_in_trouble = False
        self._probed_s = self._clock.monotonic_s()
        return Response("ready\n")

    def _note(self, trouble: Exception) -> None:
        """Write to the log what is wrong with the store, once for each time that it goes wrong."""
        if not self._is_in_trouble:
            _log.warning("readiness.lost", extra={"part": "store", "reason": str(trouble)})
        self._is_in_trouble = True

    async def metrics(self) -> Response[bytes]:
        """Give the metrics in Prometheus' text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
