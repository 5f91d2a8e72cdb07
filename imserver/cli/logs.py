"""Where log records go: to standard error, through a bounded queue and a thread, so that nobody waits.

A record's message is a constant dotted name (``store.opened``) and its facts are fields, given as
``extra={…}``. Never a body, never a secret. When the queue is full, records are dropped and counted.
"""

import contextlib
import logging
import logging.handlers
import queue
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from imserver.core.settings import LogSettings

RECORDS_MAX: Final = 10_000
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_QUIET: Final = {
    "websockets": logging.WARNING,
    "asyncio": logging.WARNING,
    "uvicorn": logging.ERROR,
}
"""Libraries that would write frames, and so bodies, at DEBUG, a line per connection at INFO, or a warning for
each request that is none, so that strangers could fill a disk with them: these are counted instead."""


@contextlib.contextmanager
def logging_to_stderr(settings: LogSettings) -> Iterator[None]:
    """Send all records to standard error while the context lasts; at its end all are written."""
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(RECORDS_MAX)
    entrance = _BoundedQueueHandler(waiting)
    exit_ = logging.StreamHandler(sys.stderr)
    exit_.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    listener = _PatientListener(waiting, exit_)
    root = logging.getLogger()
    root.addHandler(entrance)
    root.setLevel(settings.level.upper())
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(entrance)
        listener.stop()
        if entrance.dropped:
            exit_.handle(_dropped(entrance.dropped))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts``, ``level``, ``event``, ``logger`` and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": _moment(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **_facts(record),
        }
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """One line to read by eye; the traceback of an error, if any, follows it."""

    def format(self, record: logging.LogRecord) -> str:
        facts = _facts(record)
        trace = facts.pop("traceback", "")
        pairs = "".join(f" {name}={value}" for name, value in facts.items())
        line = f"{_moment(record)} {record.levelname.lower():7} {record.getMessage()}{pairs}"
        return f"{line}\n{trace}".rstrip()


class _BoundedQueueHandler(logging.handlers.QueueHandler):
    """Hands records over as they are; a full queue drops them rather than make the caller wait."""

    def __init__(self, waiting: queue.Queue[logging.LogRecord]) -> None:
        super().__init__(waiting)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _PatientListener(logging.handlers.QueueListener):
    """Ends after what is queued was written, also if there is no room for the word to end."""

    def __init__(self, waiting: queue.Queue[logging.LogRecord], handler: logging.Handler) -> None:
        super().__init__(waiting, handler)
        self._waiting: queue.Queue[Any] = waiting

    def enqueue_sentinel(self) -> None:
        self._waiting.put(None)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    if record.exc_info:
        facts["traceback"] = "".join(traceback.format_exception(*record.exc_info))
    return facts


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _dropped(count: int) -> logging.LogRecord:
    record = logging.makeLogRecord({"name": __name__, "msg": "log.dropped", "records": count})
    record.levelno, record.levelname = logging.WARNING, "WARNING"
    return record
