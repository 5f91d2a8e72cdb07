"""The cache within one process: what was put last, within bounds. For tests, and where Redis is too far."""

from collections import OrderedDict
from collections.abc import Sequence

from imserver.protocol.names import ConversationName


class MemoryCache:
    """A `Cache` in memory; of too much, what was used the longest time ago goes first.

    Args:
        bytes_max: of all values together.
        log_bytes_max: of those of one conversation.
    """

    def __init__(self, *, bytes_max: int, log_bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._log_bytes_max = log_bytes_max
        self._bytes = 0
        self._bytes_by_conv: dict[str, int] = {}
        self._values: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    @property
    def is_open(self) -> bool:
        return True

    async def get(self, conv: ConversationName, names: Sequence[str]) -> list[bytes | None]:
        found = [self._values.get((conv, name)) for name in names]
        for name, value in zip(names, found, strict=True):
            if value is not None:
                self._values.move_to_end((conv, name))
        return found

    def put(self, conv: ConversationName, name: str, value: bytes) -> None:
        self._forget((conv, name))
        if self._bytes_by_conv.get(conv, 0) + len(value) > self._log_bytes_max:
            return
        self._values[conv, name] = value
        self._count(conv, len(value))
        while self._bytes > self._bytes_max:
            self._forget(next(iter(self._values)))

    async def run(self) -> None:
        """Nothing to do."""

    def _forget(self, key: tuple[str, str]) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._count(key[0], -len(value))

    def _count(self, conv: str, size: int) -> None:
        self._bytes += size
        self._bytes_by_conv[conv] = self._bytes_by_conv.get(conv, 0) + size
        if not self._bytes_by_conv[conv]:
            del self._bytes_by_conv[conv]
