"""The way to several nodes: each connection goes to the next one, as by a balancer that knows nothing."""

import itertools
import random
from collections.abc import Sequence

from client_sdk import Options
from client_sdk.address import connector_to
from client_sdk.transport import Transport
from imserver.protocol.codec import JSON, MSGPACK


class Rotation:
    """Connects to one address after another, beginning with any."""

    def __init__(self, urls: Sequence[str], options: Options, dice: random.Random) -> None:
        codec = MSGPACK if options.codec == "msgpack" else JSON
        first = dice.randrange(len(urls))
        ways = [connector_to(url, codec, options) for url in (*urls[first:], *urls[:first])]
        self._ways = itertools.cycle(ways)

    async def connect(self, *, frame_bytes_max: int) -> Transport:
        return await next(self._ways).connect(frame_bytes_max=frame_bytes_max)
