"""A link without the HTTP server that stands in front of it in a real node."""

from websockets.http11 import Request
from websockets.server import ServerProtocol

from imserver.access.door import Door
from imserver.access.handshake import Judge
from imserver.access.websocket import WebSocketLink


class BareLink(WebSocketLink):
    """A `WebSocketLink` that takes its opening handshake off the wire itself."""

    __slots__ = ("_parser",)

    def __init__(self, door: Door) -> None:
        super().__init__(door)
        self._parser: ServerProtocol | None = Judge([None])

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            super().data_received(data)
            return
        self._parser.receive_data(data)
        for event in self._parser.events_received():
            if isinstance(event, Request):
                self._parser = None
                self.on_request(event)
