import subprocess

import pytest

from bench import generator
from bench.process import Place
from bench.task import Order, Task


def test_without_go_and_without_a_built_generator_the_bench_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(generator, "PROGRAM", tmp_path / "loadgen")
    monkeypatch.setattr(generator, "go", lambda: None)
    assert "there is no Go" in generator.build()


def test_a_generator_that_fails_makes_the_run_void(monkeypatch, tmp_path):
    program = tmp_path / "loadgen"
    program.write_text("#!/bin/sh\necho no such thing >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(generator, "PROGRAM", program)
    order = Order(dialect="imserver", port=1, server_pid=1, options={}, tokens={})
    found = generator.generate(Task("sends"), order, Place(core=0, nice=0))
    assert "no such thing" in found.void


@pytest.mark.skipif(generator.go() is None, reason="there is no Go to build the load generator")
@pytest.mark.timeout(300)
def test_the_generators_own_tests_pass():
    answer = subprocess.run(
        [generator.go(), "test", "./..."],
        cwd=generator.SOURCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
