"""What is said to newcomers while too many come: to each as little as possible, at the least cost.

The story. A newcomer that is turned away costs an accepted connection, a parsed request, an answer and a
close, a third of what it costs to let one in. When thousands come again and again, that third is what the
server is busy with; the system's queue of connections grows until those in it have given up before they are
seen, and that work is lost as well. So while the queue of newcomers is full, a request to open a WebSocket is
answered from the bare socket, by its first bytes, and one whose client has gone is dropped.
"""

import socket
from typing import Final

from imserver.access.admission import Admission
from imserver.access.handshake import PATH
from imserver.access.metrics import AccessMetrics

HEAD_BYTES_MAX: Final = 4 * 1024
TEXT: Final = "Too many come at once; come back when this node has got round to them."

_OPENING: Final = f"GET {PATH}".encode()
_END: Final = b"\r\n\r\n"
_ANSWER: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: %d\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b\n"
)


class Overflow:
    """Turns newcomers away whose turn would come too late."""

    def __init__(self, admission: Admission, metrics: AccessMetrics) -> None:
        self._admission = admission
        self._metrics = metrics

    def takes(self, connection: socket.socket) -> bool:
        """Deal with a connection just accepted, if too many come and it is one of them; then it is closed."""
        if not self._admission.is_full:
            return False
        try:
            head = connection.recv(HEAD_BYTES_MAX, socket.MSG_PEEK)
            if head and not (head.startswith(_OPENING) and head.endswith(_END)):
                return False
            if head:
                self._turn_away(connection, len(head))
        except BlockingIOError:
            return False
        except OSError:
            pass  # its client has gone
        connection.close()
        return True

    def _turn_away(self, connection: socket.socket, head_bytes: int) -> None:
        connection.recv(head_bytes)  # what is left unread would make the close take the answer back
        text = TEXT.encode()
        connection.send(_ANSWER % (self._admission.promise_s(), len(text) + 1, text))
        self._metrics.turned_away.inc()
