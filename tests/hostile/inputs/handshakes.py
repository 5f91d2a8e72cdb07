"""Opening handshakes of WebSockets."""

from typing import Final

from tests.hostile.inputs.attack import Input, Stage, Story, Upgrade
from tests.hostile.raw_socket import TEXT, RawSocket, frame, upgrade

VERSION: Final = "Sec-WebSocket-Version: 13"
DEFLATE: Final = "permessage-deflate"


async def before_101(stage: Stage) -> None:
    raw = await RawSocket.connect(stage.server)
    raw.write(upgrade(Sec_WebSocket_Protocol="imserver.v1.json") + frame(TEXT, b'{"t":"x"}'))
    assert await raw.wait_end(20)


INPUTS: Final = (
    Input("Origin: https://evil.example", Upgrade({"Origin": "https://evil.example"}, 403, "Origin")),
    Input("Origin: null", Upgrade({"Origin": "null"}, 403, "Origin")),
    Input("an Origin that begins as this host does",
          Upgrade({"Origin": "http://127.0.0.1.evil.example"}, 403, "Origin")),
    Input("a cookie without an Origin", Upgrade({"Cookie": "token=x"}, 101)),
    Input("Sec-WebSocket-Version: 8", Upgrade({"Sec-WebSocket-Version": "8"}, 426, VERSION)),
    Input("Sec-WebSocket-Version: 13, 14", Upgrade({"Sec-WebSocket-Version": "13, 14"}, 426, VERSION)),
    Input("no Sec-WebSocket-Version",
          Upgrade({"Sec-WebSocket-Version": None}, 400, "Sec-WebSocket-Version")),
    Input("no Sec-WebSocket-Key", Upgrade({"Sec-WebSocket-Key": None}, 400, "Sec-WebSocket-Key")),
    Input("a short Sec-WebSocket-Key", Upgrade({"Sec-WebSocket-Key": "x"}, 400, "Sec-WebSocket-Key")),
    Input("two keys", Upgrade(
        {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="},
        400, "Sec-WebSocket-Key")),
    Input("an upgrade without Connection", Upgrade({"Connection": "keep-alive"}, 404)),
    Input("another path", Upgrade({}, 404, "/v1/connect", path="/v2/connect")),
    Input("dots in the path", Upgrade({}, 404, "/v1/connect", path="/v1/../v1/connect")),
    Input("an unknown subprotocol",
          Upgrade({"Sec-WebSocket-Protocol": "mqtt"}, 400, "imserver.v1.msgpack")),
    Input("a hundred subprotocols", Upgrade(
        {"Sec-WebSocket-Protocol": ", ".join(f"p{number}" for number in range(100))}, 400,
        "imserver.v1.msgpack")),
    *(Input(f"an offer of compression: {what}", Upgrade({"Sec-WebSocket-Extensions": offer}, status))
      for what, offer, status in (
          ("a window of 7 bits", f"{DEFLATE}; server_max_window_bits=7", 101),
          ("a window of 16 bits", f"{DEFLATE}; client_max_window_bits=16", 101),
          ("a parameter twice", f"{DEFLATE}; client_max_window_bits; client_max_window_bits", 101),
          ("fifty of them", ", ".join([f"{DEFLATE}; x=1"] * 50), 101),
          ("no header of one", "@!", 400))),
    Input("a frame in one piece with the handshake", Story(
        "`unauthenticated`, closes at the hello deadline", before_101)),
)  # fmt: skip
