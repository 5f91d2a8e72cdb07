"""permessage-deflate for a robot's WebSocket (RFC 7692): no context takeover, and not for small frames."""

from collections.abc import Sequence
from typing import Final

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from websockets.frames import Frame
from websockets.typing import ExtensionParameter

from imserver.protocol.deflate import LEVEL

DEFLATE_BYTES_MIN: Final = 1_024
"""Smaller frames are sent as they are: compressing them costs more than it saves."""


class DeflateOffer(ClientPerMessageDeflateFactory):
    """Asks the server for compression that carries nothing over from one message to the next."""

    def __init__(self) -> None:
        super().__init__(
            server_no_context_takeover=True,
            client_no_context_takeover=True,
            compress_settings={"level": LEVEL},
        )

    def process_response_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> PerMessageDeflate:
        return _Sparing(super().process_response_params(params, accepted_extensions))


class _Sparing(PerMessageDeflate):
    """What was agreed on, for frames that are worth it."""

    def __init__(self, agreed: PerMessageDeflate) -> None:
        super().__init__(
            agreed.remote_no_context_takeover,
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
            agreed.compress_settings,
        )

    def encode(self, frame: Frame) -> Frame:
        return frame if len(frame.data) < DEFLATE_BYTES_MIN else super().encode(frame)
