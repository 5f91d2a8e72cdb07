"""A robot's program counts its starts, durably, and no two of them the same."""

import multiprocessing

from client_sdk.boots import next_boot


def test_each_start_counts_one_more(tmp_path):
    assert [next_boot(tmp_path / "r1.key") for _ in range(3)] == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["r1.key.boot"]


def test_a_count_that_is_no_count_begins_anew(tmp_path):
    (tmp_path / "r1.key.boot").write_bytes(b"not a number")
    assert next_boot(tmp_path / "r1.key") == 1


def test_where_nothing_can_be_written_nothing_is_counted(tmp_path):
    assert next_boot(tmp_path / "missing" / "r1.key") is None


def _count(path, results):
    results.put([next_boot(path) for _ in range(50)])


def test_processes_that_start_at_once_get_different_counts(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    arguments = (tmp_path / "r1.key", results)
    processes = [context.Process(target=_count, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    counts = [number for _ in processes for number in results.get(timeout=30)]
    for process in processes:
        process.join()
    assert sorted(counts) == list(range(1, 201))
