"""Bodies from Python values: encoded, checked and measured before anything is sent.

A body that the server would refuse is better refused here, where the caller's line is in the traceback.
"""

import msgspec
from msgspec import Raw

from client_sdk.errors import Refused
from imserver.protocol.bodies import InvalidBody
from imserver.protocol.codec import Codec
from imserver.protocol.errors import ErrorCode

_encode_msgpack = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode


def encode(codec: Codec, value: object, bytes_max: int) -> Raw:
    """Return ``value`` as a body in the codec.

    Values are what JSON and MessagePack know, and what msgspec turns into it: dataclasses, Structs, dates, …

    Raises:
        TypeError: a value of a type that has no place in a message.
        InvalidBody: a ValueError; nested too deep, a number that is not finite, …
        Refused: ``too_large``.
    """
    try:
        encoded = _encode_msgpack(value) if codec.binary else _encode_json(value)
    except RecursionError as exc:
        raise InvalidBody("the body is nested too deep, or contains itself") from exc
    except OverflowError as exc:
        raise InvalidBody("an integer in the body does not fit in 64 bits") from exc
    body = Raw(encoded)
    size = len(codec.canonical_body(body))
    if size > bytes_max:
        raise Refused(
            ErrorCode.TOO_LARGE,
            f"the body has {size} bytes and this server takes {bytes_max} at most; send a reference",
        )
    return body
