"""How a robot seals: what its program decides about it."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from client_sdk.keys import RobotKey
from client_sdk.sealed.envelope import PUBLIC_KEY_BYTES
from client_sdk.sealed.outgoing import MESSAGES_MAX


class Sealing(Struct, frozen=True, kw_only=True):
    """Seal conversations end to end; experimental. See `Robot.seal`.

    Attributes:
        known: identity keys (the 32 bytes of `RobotKey.public_key`) of robots, from a source that is not
            the server. They are believed, and no other key of those robots.
        first_use: of robots that are not known, believe the first key that is seen. If false, nothing is
            sealed for them and nothing of them is opened: then a server can slip nobody in.
        everything: seal every conversation of this robot, and refuse to say anything in plain.
        identity: the key that signs, or its file, if it is not the one by which the robot logs in. All
            devices of a robot need the same.
        messages_max: messages after which a device takes a new sender key; 1 to 1,000.
        age_s: time after which it does.
        device_age_s: time after which a device takes a new key of its own.
        keep_history: keep the keys of what was opened, so that `history` can open it again. Who gets hold
            of the memory can then, too.

    Raises:
        ValueError: a value is out of its range; the text says what would be right.
    """

    known: Mapping[str, bytes] = field(default_factory=dict)
    first_use: bool = True
    everything: bool = False
    identity: RobotKey | str | Path | None = None
    messages_max: int = 100
    age_s: float = 24 * 3600.0
    device_age_s: float = 7 * 24 * 3600.0
    keep_history: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.messages_max <= MESSAGES_MAX:
            raise ValueError(f"messages_max must be 1 to {MESSAGES_MAX}, not {self.messages_max}")
        if self.age_s <= 0 or self.device_age_s <= 0:
            raise ValueError("age_s and device_age_s must be more than 0 seconds")
        for robot, identity in self.known.items():
            if len(identity) != PUBLIC_KEY_BYTES:
                raise ValueError(
                    f"the identity key of {robot} must be the {PUBLIC_KEY_BYTES} bytes of its public key"
                )
