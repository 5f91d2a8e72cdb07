"""What every connection of a node shares."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from imserver.access.admission import Admission
from imserver.access.metrics import AccessMetrics
from imserver.access.tolls import Tolls
from imserver.core.settings import AccessSettings
from imserver.logic.session import Sessions
from imserver.protocol.limits import Limits

if TYPE_CHECKING:
    from imserver.access.requests import Requests


class Context(NamedTuple):
    """Handed to each connection by its listener."""

    sessions: Sessions
    requests: "Requests"
    settings: AccessSettings
    limits: Limits
    metrics: AccessMetrics
    admission: Admission
    tolls: Tolls
    spawn: Callable[[Coroutine[Any, Any, None], str], None]
