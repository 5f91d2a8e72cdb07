"""What makes an enrolment token good for a registration: a rule of all engines, asked in the transaction."""

from imserver.core.errors import Refusal
from imserver.core.model import Enrolment, RobotRecord
from imserver.protocol.errors import ErrorCode


def check_enrolment(
    enrolment: Enrolment, known: RobotRecord | None, *, is_spent: bool, is_revoked: bool
) -> None:
    """Return if the token may bind a key to the name, of which ``known`` is stored.

    Raises:
        Refusal: as `Registry.register` says.
    """
    if is_spent:
        raise Refusal(
            ErrorCode.UNAUTHENTICATED,
            "this enrolment token was used before; each is good for one registration: "
            "ask the operator for a new one",
        )
    if is_revoked:
        raise Refusal(
            ErrorCode.UNAUTHENTICATED, "the token was revoked; ask the operator for a new one"
        )
    if known is None:
        return
    if known.public_key is not None:
        raise Refusal(
            ErrorCode.EXISTS,
            f"a robot named {known.name} is registered with a key; say hello with that key, "
            "or choose another name",
        )
    if known.revoked_ms is not None and enrolment.issued_ms <= known.revoked_ms:
        raise Refusal(
            ErrorCode.UNAUTHENTICATED,
            f"{known.name} was revoked since this enrolment token was minted; ask the operator for a new one",
        )
