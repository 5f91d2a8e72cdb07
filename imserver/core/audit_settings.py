"""The settings of the audit log, a section of `settings.Settings`."""

from typing import Annotated

from msgspec import Meta, Struct


class AuditSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How much is kept of what was done to the deployment; whichever lets an act go first counts.

    Attributes:
        age_s: seconds after which an act is let go.
        acts_max: how many of the newest acts stay.
    """

    age_s: Annotated[float, Meta(ge=0)] = 366 * 86_400.0
    acts_max: Annotated[int, Meta(ge=0, le=10_000_000)] = 100_000
