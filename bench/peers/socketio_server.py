"""``python -m bench.peers.socketio_server PORT``: groups as rooms of python-socketio, served by uvicorn."""

import sys
from typing import Any

import socketio
import uvicorn

SERVER = socketio.AsyncServer(async_mode="asgi", http_compression=False, ping_timeout=3_600)


@SERVER.event  # type: ignore[untyped-decorator]
async def join(sid: str, group: str) -> bool:
    """Enter a room."""
    await SERVER.enter_room(sid, group)
    return True


@SERVER.event  # type: ignore[untyped-decorator]
async def send(_sid: str, group: str, text: str) -> None:
    """Tell a room."""
    await SERVER.emit("message", text, room=group)


def main(port: int) -> None:
    """Serve until the process is ended."""
    application: Any = socketio.ASGIApp(SERVER)
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        log_level="error",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
