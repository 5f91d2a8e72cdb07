"""Verifies what a server promised from what its clients saw: a history format, and a checker of histories.

Clients write down every step of what they do (`HistoryWriter`, or any program in any language: the format is
in ``docs/verify.md``), and `verify` decides, with the raw log beside it or without, whether the guarantees
of order and durability were kept. Knows nothing of how the server works. Called by ``imserver verify`` and
by tests; `recorder` writes the history of a `client_sdk.Robot`.
"""

from imserver.verify.body_hash import body_sha, stored_body_sha
from imserver.verify.guarantees import Guarantee
from imserver.verify.history import HistoryReader, HistoryUnusable, HistoryWriter
from imserver.verify.raw_log import no_log, read_data_directory, read_log_file
from imserver.verify.report import Report
from imserver.verify.verifier import verify

__all__ = [
    "Guarantee",
    "HistoryReader",
    "HistoryUnusable",
    "HistoryWriter",
    "Report",
    "body_sha",
    "no_log",
    "read_data_directory",
    "read_log_file",
    "stored_body_sha",
    "verify",
]
