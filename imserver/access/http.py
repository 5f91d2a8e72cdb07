"""The HTTP side of the port: is it alive, is it ready, what does it count."""

from collections.abc import Awaitable, Callable

from litestar import Litestar, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from imserver.core.errors import StoreCorrupt, StoreFailed, StoreUnavailable


def application(
    *,
    probe: Callable[[], Awaitable[None]],
    is_draining: Callable[[], bool],
    registry: CollectorRegistry,
) -> Litestar:
    """Return the ASGI application beside the WebSocket endpoint.

    ``probe`` returns if the store can be read and written, and raises `StoreUnavailable` or `StoreFailed`.
    """

    @get("/healthz", media_type="text/plain")
    async def healthz() -> str:
        """Tell that the process runs and its loop turns."""
        return "ok\n"

    @get("/readyz", media_type="text/plain")
    async def readyz() -> Response[str]:
        """Tell whether the node serves: 200, or 503 with the reason."""
        if is_draining():
            return Response("draining\n", status_code=503)
        try:
            await probe()
        except (StoreUnavailable, StoreFailed, StoreCorrupt) as exc:
            return Response(f"{exc}\n", status_code=503)
        return Response("ready\n")

    @get("/metrics")
    async def metrics() -> Response[bytes]:
        """Give the metrics in Prometheus' text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Litestar(
        [healthz, readyz, metrics], openapi_config=None, logging_config=None, debug=False
    )
