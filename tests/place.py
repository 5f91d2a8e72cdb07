"""Where the servers of a test run: on loopback, or in a network namespace that the test has made."""

from typing import Final, NamedTuple


class Place(NamedTuple):
    """A place for one server.

    Attributes:
        host: the address that it listens on.
        prefix: the command by which programs are started there.
    """

    host: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()


LOOPBACK: Final = Place()
