"""The router of a node that is alone: everything goes straight back to its own listener."""

from imserver.core.model import Run
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import SignalValue
from imserver.route.router import RouteListener


class LocalRouter:
    """A `Router` within one process; nothing is ever lost, and arrival is immediate."""

    def __init__(self) -> None:
        self._listener: RouteListener | None = None

    def attach(self, listener: RouteListener) -> None:
        if self._listener is not None:
            raise RuntimeError("the router has its listener already")
        self._listener = listener

    def publish(self, run: Run) -> None:
        self._attached().on_committed(run)

    def publish_signal(self, signal: SignalValue) -> None:
        self._attached().on_signal(signal)

    def tell(self, notice: bytes) -> None:
        """Nothing to do: there is no other node."""

    async def handed_on(self) -> None:
        """Return at once: it has arrived."""

    def follow(self, conv: ConversationName) -> None:
        """Nothing to do: there is no other node."""

    def unfollow(self, conv: ConversationName) -> None:
        """Nothing to do: there is no other node."""

    def _attached(self) -> RouteListener:
        if self._listener is None:
            raise RuntimeError("attach a listener before publishing")
        return self._listener
