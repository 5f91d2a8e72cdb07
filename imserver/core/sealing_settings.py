"""The settings of sealing, a section of `settings.Settings`."""

from msgspec import Struct


class SealingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept at rest, encrypted: the bodies of events, files and their names.

    Attributes:
        enabled: seal what is stored. Bodies that were stored before are sealed in the background. A store
            with sealed bodies or files is not served without it.
        keys: the file with the key ring, which `imserver keys new` makes; empty for ``sealing.keys`` in the
            data directory. It is read again on SIGHUP.
    """

    enabled: bool = False
    keys: str = ""
