"""The routes between nodes that a server can use, and how the one that its settings name is opened."""

import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple, cast

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from imserver.cluster import Cluster
from imserver.core.clock import Clock
from imserver.core.errors import InvalidSettings
from imserver.core.settings import Settings
from imserver.core.tokens import TokenAuthority
from imserver.data.store import SharedLog
from imserver.node import new_name
from imserver.route.local import LocalRouter
from imserver.route.metrics import RouteMetrics
from imserver.route.one_time import LocalOneTime
from imserver.route.router import Router

_KEY_PURPOSE: Final = "imserver questions between nodes"


class OpenedRoute(NamedTuple):
    """A route, and what a process needs of its engine beside the ports.

    Attributes:
        router: the router.
        cluster: what makes the node one of several; None for a node that is alone.
        work: what has to run as long as it is in use, by name.
        metrics: what the engine counts, or None.
    """

    router: Router
    cluster: Cluster | None = None
    work: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] = {}
    metrics: Collector | None = None


def open_route(
    settings: Settings, store: object, *, authority: TokenAuthority, clock: Clock
) -> OpenedRoute:
    """Open the route that the settings name, for nodes that share ``store``; waits for nobody.

    Raises:
        InvalidSettings: the store is one that nodes cannot share, or the driver is not installed.
    """
    if not settings.route.url:
        return OpenedRoute(LocalRouter())
    if not settings.store.url:
        raise InvalidSettings(
            "route.url connects nodes that share a store: set store.url to their MongoDB as well, or leave "
            "route.url out for a node that is alone"
        )
    try:
        # Imported here: who runs on one machine needs no driver of Redis.
        from imserver.route.redis import RedisRouter  # noqa: PLC0415
        from imserver.route.redis_attendance import RedisAttendance  # noqa: PLC0415
        from imserver.route.redis_carrier import carrier_over  # noqa: PLC0415
        from imserver.route.redis_client import connect  # noqa: PLC0415
        from imserver.route.redis_one_time import RedisOneTime  # noqa: PLC0415
    except ImportError as exc:
        raise InvalidSettings(
            "route.url needs the driver of Redis: pip install 'imserver[server,cluster]'"
        ) from exc
    node, prefix = new_name(), f"imserver:{authority.server_id}"
    registry = CollectorRegistry()
    redis = connect(settings.route.url)
    metrics = RouteMetrics(registry)
    carrier = carrier_over(settings.route.url, dice=random.Random(), metrics=metrics)
    router = RedisRouter(
        carrier,
        node=node,
        prefix=prefix,
        metrics=metrics,
        carried_bytes_max=settings.route.carried_bytes_max,
    )
    # In braces: on a Redis Cluster these keys have to be in one place.
    keys = f"imserver:{{{authority.server_id}}}"
    attendance = RedisAttendance(redis, node=node, prefix=keys, clock=clock)
    left = RedisOneTime(redis, prefix=keys, own=LocalOneTime(clock))
    cluster = Cluster(
        node,
        cast(SharedLog, store),
        attendance,
        left,
        sees=lambda: router.is_connected,
        requests=router.asking(key=authority.shared_key(_KEY_PURPOSE)),
        forward=settings.route.forward if settings.route.carried_bytes_max else "never",
    )
    work = {"route": router.run, "attendance": attendance.run}
    return OpenedRoute(router, cluster, work, cast(Collector, registry))
