"""What the server writes to standard error."""

import io
import json
import logging
import threading

import pytest

from imserver.cli import logs
from imserver.core.settings import LogSettings


@pytest.fixture
def log():
    logger = logging.getLogger("imserver.test")
    yield logger
    logging.getLogger().setLevel(logging.WARNING)


def test_a_record_becomes_one_json_object_with_its_facts(log, capsys):
    with logs.logging_to_stderr(LogSettings(format="json")):
        log.info("store.opened", extra={"path": "x.db", "events": 3})
    line = json.loads(capsys.readouterr().err)
    assert {key: line[key] for key in ("level", "event", "logger", "path", "events")} == {
        "level": "info",
        "event": "store.opened",
        "logger": "imserver.test",
        "path": "x.db",
        "events": 3,
    }


def test_a_record_as_text_is_one_line(log, capsys):
    with logs.logging_to_stderr(LogSettings(format="text")):
        log.warning("store.slow", extra={"seconds": 2})
    assert capsys.readouterr().err.split(maxsplit=1)[1] == "warning store.slow seconds=2\n"


def test_a_traceback_is_a_field_of_the_json_line(log, capsys):
    with logs.logging_to_stderr(LogSettings(format="json")):
        try:
            raise ValueError("broken")
        except ValueError:
            log.exception("handler.failed")
    assert json.loads(capsys.readouterr().err)["traceback"].endswith("ValueError: broken\n")


def test_records_below_the_level_are_not_written(log, capsys):
    with logs.logging_to_stderr(LogSettings(level="warning")):
        log.info("store.opened")
    assert capsys.readouterr().err == ""


def test_libraries_write_no_frames_even_at_debug(capsys):
    with logs.logging_to_stderr(LogSettings(level="debug")):
        logging.getLogger("websockets.server").debug("< TEXT 'secret'")
    assert capsys.readouterr().err == ""


def test_requests_that_are_none_are_not_worth_a_line_each(capsys):
    with logs.logging_to_stderr(LogSettings(level="debug")):
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        logging.getLogger("uvicorn.error").error("Exception in ASGI application")
    assert "Invalid" not in (written := capsys.readouterr().err)
    assert "Exception in ASGI application" in written


class StuckStream(io.StringIO):
    """A standard error whose reader does not read until it is told to."""

    def __init__(self):
        super().__init__()
        self.is_stuck = threading.Event()
        self.reads = threading.Event()

    def write(self, text):
        self.is_stuck.set()
        self.reads.wait()
        return super().write(text)


def test_when_the_queue_is_full_records_are_dropped_and_counted(log, monkeypatch):
    stream = StuckStream()
    monkeypatch.setattr(logs, "RECORDS_MAX", 2)
    monkeypatch.setattr(logs.sys, "stderr", stream)
    with logs.logging_to_stderr(LogSettings(format="json")):
        log.info("first")
        stream.is_stuck.wait()
        for _ in range(5):
            log.info("burst")
        threading.Timer(0.0, stream.reads.set).start()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["first", "burst", "burst", "log.dropped"]
    assert lines[-1]["records"] == 3
