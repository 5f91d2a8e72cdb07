"""Random names, handed to whoever needs them, so that a simulation can choose them itself."""

import secrets
from typing import Protocol


class Ids(Protocol):
    """A source of names that nobody can guess."""

    def token(self) -> str:
        """Return 128 random bits as text."""


class RandomIds:
    """Ids from the machine's cryptographic random numbers."""

    def token(self) -> str:
        text = secrets.token_urlsafe(16)
        # It may be given to a command, which would take it for an option.
        while text.startswith("-"):
            text = secrets.token_urlsafe(16)
        return text
