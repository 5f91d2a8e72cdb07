import os
import subprocess
import sys
import time

import pytest

from bench import accounting

BURN = "import time\nwhile time.process_time() < 0.5: pass\nprint('done', flush=True)\ninput()"
BURN_IN_A_CHILD = (
    f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}], check=False)"
)
GROW = "kept = bytearray(b'x') * (64 << 20)\nprint('done', flush=True)\ninput()"


def started(program):
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("program", [BURN, BURN_IN_A_CHILD])
def test_cpu_is_that_of_the_process_and_its_children(program):
    with started(program) as process:
        assert process.stdout.readline() == "done\n"
        used_s = accounting.cpu_s(process.pid)
        process.stdin.write("\n")
    assert 0.45 < used_s < 0.9


def test_memory_is_what_the_process_touched():
    with started(GROW) as process:
        assert process.stdout.readline() == "done\n"
        grown = accounting.resident_bytes(process.pid)
        process.stdin.write("\n")
    assert 64 << 20 < grown < 90 << 20


def test_a_busy_generator_is_told_from_the_server_it_measures():
    with started("input()") as idle:
        before = accounting.read(idle.pid)
        end = time.process_time() + 0.3
        while time.process_time() < end:
            os.getpid()
        usage = accounting.between(before, accounting.read(idle.pid))
        idle.stdin.write("\n")
    assert usage.generator * usage.seconds == pytest.approx(0.3, abs=0.05)
    assert usage.server < 0.2
