"""A short cut for the common case of WebSocket input: whole data frames, one message each.

websockets' parser judges every detail a peer can get wrong and costs several microseconds a frame. Here only
frames that leave nothing to judge are taken off the front of what was read: final, masked, uncompressed data
frames of up to 64 KiB that arrived completely. From the first byte of anything else on, the parser decides.
"""

import sys
from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # the library's wheel for this platform has no compiled part
    from websockets.utils import apply_mask

_MASKED: Final = 0x80
_LENGTH_IN_TWO_BYTES: Final = 126


def take(
    data: bytes, first_byte: int, *, start: int = 0, bytes_max: int, most: int = sys.maxsize
) -> tuple[list[bytes], int]:
    """Return the payloads of the next frames from ``start`` on, ``most`` of them at most, that begin with
    ``first_byte`` and have at most ``bytes_max`` bytes, and where the rest begins."""
    payloads: list[bytes] = []
    end_of_data = len(data)
    while len(payloads) < most and end_of_data - start >= 6 and data[start] == first_byte:
        length = data[start + 1] - _MASKED
        mask_at = start + 2
        if length == _LENGTH_IN_TWO_BYTES and end_of_data - start >= 8:
            length = data[start + 2] << 8 | data[start + 3]
            mask_at = start + 4
        elif not 0 <= length < _LENGTH_IN_TWO_BYTES:
            break
        end = mask_at + 4 + length
        if end > end_of_data or length > bytes_max:
            break
        payloads.append(apply_mask(data[mask_at + 4 : end], data[mask_at : mask_at + 4]))
        start = end
    return payloads, start
