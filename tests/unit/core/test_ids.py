"""Names that nobody can guess, and that can be given to a command."""

from imserver.core.ids import RandomIds


def test_no_token_looks_like_an_option() -> None:
    ids = RandomIds()
    tokens = {ids.token() for _ in range(2_000)}
    assert len(tokens) == 2_000
    assert not any(token.startswith("-") for token in tokens)
