"""What a person reads of a run."""

from collections.abc import Iterable

from tests.fuzz.campaign import Account

_HEAD = ("target", "inputs", "per second", "outcomes", "slowest", "memory at 10 %, 50 %, 100 %")
_MIB = 1024 * 1024


def table(accounts: Iterable[Account]) -> str:
    """Return a table of campaigns, with their sum."""
    accounts = list(accounts)
    rows = [_row(account) for account in accounts]
    inputs, seconds = sum(a.inputs for a in accounts), sum(a.seconds for a in accounts)
    rows.append(
        ("together", f"{inputs:,}", f"{inputs / seconds:,.0f}" if seconds else "-", "", "", "")
    )
    widths = [max(len(row[column]) for row in [_HEAD, *rows]) for column in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [_HEAD, *rows]
    ]
    return "\n".join([*lines, *(_finding(account) for account in accounts if not account.is_clean)])


def _row(account: Account) -> tuple[str, ...]:
    rate = account.inputs / account.seconds if account.seconds else 0.0
    memory = " ".join(f"{size / _MIB:.0f}" for size in account.memory)
    return (
        account.target,
        f"{account.inputs:,}",
        f"{rate:,.0f}",
        f"{account.outcomes:,}",
        f"{account.longest_s * 1000:.0f} ms",
        f"{memory} MiB",
    )


def _finding(account: Account) -> str:
    found = account.finding
    if found is None:
        return f"\n{account.target}: memory grew by {account.grew / _MIB:.1f} MiB"
    return (
        f"\n{found.target}, seed {found.seed}, input {found.number}: {found.error}\n"
        f"the smallest that shows it, for tests/fuzz/regressions.py:\n{found.given!r}"
    )
