"""A target's part of a run, in a process of its own."""

import faulthandler
import logging

from tests.fuzz.campaign import Account, run
from tests.fuzz.given import Target
from tests.fuzz.targets import TARGETS

STUCK_S = 600


def run_part(name: str, inputs: int, seed: int) -> Account:
    """Feed a target; return what came of it, and tell on standard output how far it is."""
    logging.getLogger("client_sdk").setLevel(logging.CRITICAL)
    target: Target = TARGETS[name]()
    try:
        return run(target, inputs, seed=seed, tell=_tell, on_batch=_expect_an_end)
    finally:
        faulthandler.cancel_dump_traceback_later()
        target.close()


def _expect_an_end() -> None:
    """Have the process end, and say where it was, if a reader in C never comes back."""
    faulthandler.dump_traceback_later(STUCK_S, exit=True)


def _tell(account: Account) -> None:
    rate = account.inputs / account.seconds
    print(f"{account.target}: {account.inputs:,} inputs, {rate:,.0f} a second", flush=True)
