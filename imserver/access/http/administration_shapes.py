"""What travels over HTTP in JSON between the deployment and its admins."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from imserver.core.acts import RecordedAct, TokenRecord
from imserver.core.tokens import TTL_MS_MAX
from imserver.route.attendance import NodeRecord


class NewToken(Struct, frozen=True):
    """A token to mint.

    Attributes:
        kind: ``enroll`` registers a robot's key once; ``bearer`` acts as a robot until it expires.
        robot: the only name it is good for.
        ttl_s: seconds from now on for which it is good.
        groups: groups, as ``g/<name>``, that an enrolled robot becomes a member of (``enroll`` only).
        scopes: what of the robot's rights the bearer has, such as ``read:g/dock`` or ``admin``; all of them
            if none is named (``bearer`` only).
    """

    kind: Literal["enroll", "bearer"]
    robot: str
    ttl_s: Annotated[int, Meta(ge=1, le=TTL_MS_MAX // 1_000)] = 3_600
    groups: list[str] = []
    scopes: list[str] = []


class Token(Struct, frozen=True):
    """A token that was minted. It is shown this once.

    Attributes:
        token: the token.
        id: what it is known by when it is listed or revoked.
        expires: when it ends to be good, in milliseconds since 1970.
    """

    token: str
    id: str
    expires: int


class Tokens(Struct, frozen=True):
    """A page of the tokens that have not expired, by id; the tokens themselves are not kept.

    Attributes:
        tokens: none if there are no more.
    """

    tokens: list[TokenRecord]


class Audit(Struct, frozen=True):
    """A page of what was done to the deployment, newest first.

    Attributes:
        acts: none if there are no more.
    """

    acts: list[RecordedAct]


class Nodes(Struct, frozen=True):
    """The nodes of the deployment.

    Attributes:
        nodes: by name; one alone where the server has no neighbours.
    """

    nodes: list[NodeRecord]
