"""The HTTP side of the port: is it alive, is it ready, what does it count."""

import math
from collections.abc import Awaitable, Callable
from typing import Final

from litestar import Litestar, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from imserver.core.clock import Clock
from imserver.core.errors import StoreCorrupt, StoreFailed, StoreUnavailable

PROBE_INTERVAL_S: Final = 1.0
"""A probe is a durable write: strangers who ask more often get the last good answer."""


def application(
    *,
    probe: Callable[[], Awaitable[None]],
    is_draining: Callable[[], bool],
    registry: CollectorRegistry,
    clock: Clock,
) -> Litestar:
    """Return the ASGI application beside the WebSocket endpoint.

    ``probe`` returns if the store can be read and written, and raises `StoreUnavailable` or `StoreFailed`.
    """

    @get("/healthz", media_type="text/plain")
    async def healthz() -> str:
        """Tell that the process runs and its loop turns."""
        return "ok\n"

    probed_s = -math.inf

    @get("/readyz", media_type="text/plain")
    async def readyz() -> Response[str]:
        """Tell whether the node serves: 200, or 503 with the reason."""
        if is_draining():
            return Response("draining\n", status_code=503)
        nonlocal probed_s
        if clock.monotonic_s() - probed_s < PROBE_INTERVAL_S:
            return Response("ready\n")
        try:
            await probe()
        except (StoreUnavailable, StoreFailed, StoreCorrupt) as exc:
            return Response(f"{exc}\n", status_code=503)
        probed_s = clock.monotonic_s()
        return Response("ready\n")

    @get("/metrics")
    async def metrics() -> Response[bytes]:
        """Give the metrics in Prometheus' text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Litestar(
        [healthz, readyz, metrics], openapi_config=None, logging_config=None, debug=False
    )
