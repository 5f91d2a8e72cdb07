"""The frames of one client that wait for their turn behind a request that is under way."""

from collections import deque
from collections.abc import Callable

from imserver.protocol.client_frames import ClientFrame


class Backlog:
    """Frames in the order they came.

    Attributes:
        size: bytes that they took on the wire.
    """

    __slots__ = ("_frames", "size")

    def __init__(self) -> None:
        self._frames: deque[tuple[ClientFrame, int]] = deque()
        self.size = 0

    def add(self, frame: ClientFrame, size: int) -> None:
        """Take in a frame of ``size`` bytes."""
        self._frames.append((frame, size))
        self.size += size

    def next(self) -> tuple[ClientFrame, int]:
        """Take out the frame whose turn it is, with its size."""
        frame, size = self._frames.popleft()
        self.size -= size
        return frame, size

    def sift(self, keeps: Callable[[ClientFrame, int], bool]) -> None:
        """Keep the frames of which ``keeps`` says so, asked in their order with their sizes."""
        frames, self._frames, self.size = self._frames, deque(), 0
        for frame, size in frames:
            if keeps(frame, size):
                self.add(frame, size)

    def __len__(self) -> int:
        return len(self._frames)
