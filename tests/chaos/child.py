"""Signals to child processes."""

import asyncio
import contextlib
import os
import signal


def send_signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to a process that has not ended.

    Not by asyncio's own methods: those ask first whether the process has ended, and thereby take its exit
    status away from asyncio, which then complains on standard error and reports 255.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
