"""How much may be put into a cache whose values expire, so that it never holds more than a bound.

Nothing has to be counted in the cache itself, which could be lost, and no two nodes have to agree: a value
lives for `window_s` at most, and in no time of that length is more put than the bound. Time is cut into
windows of that length, each with half of the bound, since any span of it touches two of them.
"""


class FillBudget:
    """What is left, in all and for each conversation.

    Args:
        bytes_max: of all values that may live at a time.
        log_bytes_max: of those of one conversation.
    """

    def __init__(self, *, window_s: float, bytes_max: int, log_bytes_max: int) -> None:
        self._window_s = window_s
        self._bytes_max = bytes_max // 2
        self._log_bytes_max = log_bytes_max // 2
        self._window = -1
        self._bytes = 0
        self._by_conv: dict[str, int] = {}

    def take(self, conv: str, size: int, *, now_s: float) -> bool:
        """Take ``size`` bytes if that many are left now."""
        window = int(now_s // self._window_s)
        if window != self._window:
            self._window, self._bytes = window, 0
            self._by_conv.clear()
        of_conv = self._by_conv.get(conv, 0) + size
        if self._bytes + size > self._bytes_max or of_conv > self._log_bytes_max:
            return False
        self._bytes += size
        self._by_conv[conv] = of_conv
        return True
