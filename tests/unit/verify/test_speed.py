"""Time and memory are linear in the records. On a busy machine, too, only a worse slope takes too long."""

import subprocess
import sys

import pytest

RECORDS = 200_000
SECONDS_MAX = 50
BYTES_MAX = 160 * 1024 * 1024

MAKE_HISTORY = """
import sys
from imserver.verify.history import HistoryWriter
from imserver.verify.records import Receive, Send, SessionOpen

me = {"client": "r1", "session": "s1"}
with HistoryWriter(sys.argv[1]) as history:
    history.write(SessionOpen(t=0.0, **me))
    for seq in range(1, int(sys.argv[2]) // 3 + 1):
        event = {"conv": "g/a", "cid": f"r1-{seq:020}", "body_sha": f"{seq:064x}"}
        history.write(Send(t=seq + 0.1, **me, type="invoke", **event))
        place = {"conv": "g/a", "epoch": "e", "seq": seq}
        history.write(Send(t=seq + 0.2, **me, type="ok", cid=event["cid"], **place))
        history.write(
            Receive(t=seq + 0.3, **me, **event, epoch="e", seq=seq, sender="r1", kind="message")
        )
"""

# Linux counts the memory of the process that started this one into its `ru_maxrss`, but not into its `VmHWM`.
JUDGE = """
import sys
from pathlib import Path
from imserver import cli

status = cli.run(["verify", sys.argv[1]])
(most,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(int(most.split()[1]) * 1024, file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.process
def test_a_long_history_is_judged_in_little_time_and_memory(tmp_path):
    path = tmp_path / "r1.jsonl"
    subprocess.run([sys.executable, "-c", MAKE_HISTORY, str(path), str(RECORDS)], check=True)
    done = subprocess.run(
        [sys.executable, "-c", JUDGE, str(path)],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{RECORDS // 3 * 3 + 1:,} records" in done.stdout
    assert int(done.stderr) < BYTES_MAX
