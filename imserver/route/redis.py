"""The router of a cluster: hints go through Redis pub/sub, one channel a conversation and one for notices.

Redis holds nothing here: what it drops, or never gets because it is down, is found in the store by whoever
misses it. So publishing never waits: hints are queued, within a bound, and written together. While Redis
cannot be reached they are thrown away, since old hints would only delay new ones. Whenever a subscription
begins, also once more after a cut, the listener is told, and looks for itself what it has missed.
"""

from msgspec import Raw

from imserver.core.model import Run
from imserver.core.route_settings import RouteSettings
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import SignalValue
from imserver.route import hints
from imserver.route.carrier import Carrier
from imserver.route.metrics import RouteMetrics
from imserver.route.redis_requests import RedisRequests
from imserver.route.router import RouteListener


class RedisRouter:
    """A `Router` over Redis pub/sub. `run` leads its life; without it hints of other nodes do not arrive.

    Args:
        carrier: brings payloads to channels and from there, over one Redis or a cluster of them.
        node: this node's name, unique among those that share ``prefix``.
        prefix: begins the name of every channel, so that deployments can share a Redis.
        carried_bytes_max: larger hints announce the head of their run alone: who follows the conversation
            fetches the events from the store.
    """

    def __init__(
        self,
        carrier: Carrier,
        *,
        node: str,
        prefix: str,
        metrics: RouteMetrics,
        carried_bytes_max: int = RouteSettings().carried_bytes_max,
    ) -> None:
        self._carrier = carrier
        self._node = node
        self._prefix = prefix
        self._own = hints.begins_as(node)
        self._carried_bytes_max = carried_bytes_max
        self._channel = f"{prefix}:conv:"
        self._notices = f"{prefix}:notices"
        self._metrics = metrics
        self._listener: RouteListener | None = None
        carrier.on_payload = self._on_payload
        carrier.on_subscribed = self._on_subscribed
        carrier.on_lost = self._give_up
        carrier.on_again = lambda: self._attached().on_unheard()
        carrier.want(self._notices)
        self.run = carrier.run
        self._requests: RedisRequests | None = None
        metrics.connected.set_function(lambda: self.is_connected)

    @property
    def is_connected(self) -> bool:
        """Whether hints come and go, as far as is known."""
        return self._carrier.is_connected

    def attach(self, listener: RouteListener) -> None:
        if self._listener is not None:
            raise RuntimeError("the router has its listener already")
        self._listener = listener

    def publish(self, run: Run) -> None:
        self._attached().on_committed(run)
        payload = hints.encode(hints.Committed(self._node, run))
        if len(payload) > self._carried_bytes_max:
            moved = hints.HeadMoved(self._node, run.conv, run.events[-1].seq)
            payload = hints.encode(moved)
        self._carrier.put(self._channel + run.conv, payload)

    def publish_signal(self, signal: SignalValue) -> None:
        self._attached().on_signal(signal)
        payload = hints.encode(hints.Signalled(self._node, signal))
        self._carrier.put(self._channel + signal.conv, payload)

    def tell(self, notice: bytes) -> None:
        self._carrier.put(self._notices, hints.encode(hints.Notice(self._node, Raw(notice))))

    async def handed_on(self) -> None:
        await self._carrier.wait_written()

    def follow(self, conv: ConversationName) -> None:
        self._carrier.want(self._channel + conv)

    def unfollow(self, conv: ConversationName) -> None:
        self._carrier.unwant(self._channel + conv)

    def asking(self, *, key: bytes) -> RedisRequests:
        """Return what asks other nodes, and is asked, over the same connections. Call it once.

        Args:
            key: a secret of the deployment's nodes, which seals what they ask each other.
        """
        put = self._carrier.put
        self._requests = RedisRequests(node=self._node, prefix=self._prefix, key=key, put=put)
        self._carrier.want(self._requests.channel)
        return self._requests

    def _on_payload(self, payload: bytes) -> None:
        if hints.is_of(payload, self._own):
            return
        hint = hints.decode(payload)
        if hint is None:
            return
        self._metrics.received.inc()
        listener = self._attached()
        match hint:
            case hints.Committed(run=run):
                listener.on_committed(run)
            case hints.HeadMoved(conv=conv, seq=seq):
                listener.on_head(conv, seq)
            case hints.Signalled(signal=signal):
                listener.on_signal(signal)
            case hints.Notice(body=body):
                listener.on_notice(bytes(body))
            case hints.Asked() if self._requests is not None:
                self._requests.on_question(hint)
            case hints.Answered() if self._requests is not None:
                self._requests.on_answer(hint)

    def _on_subscribed(self, channel: str) -> None:
        if channel == self._notices:
            self._attached().on_connected()
        elif channel.startswith(self._channel):
            self._attached().on_followed(ConversationName(channel.removeprefix(self._channel)))

    def _give_up(self) -> None:
        if self._requests is not None:
            self._requests.give_up()

    def _attached(self) -> RouteListener:
        if self._listener is None:
            raise RuntimeError("attach a listener before publishing")
        return self._listener
