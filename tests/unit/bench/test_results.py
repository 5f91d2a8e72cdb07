from bench.results import Results
from tests.unit.bench.made import run

SENDS = "sends-10x10"


def test_what_was_run_is_there_when_the_bench_goes_on(tmp_path):
    first = Results(tmp_path)
    first.add(run(SENDS, "imserver", sends_per_s=5.0))
    first.add(run(SENDS, "jetstream", void="an answer is missing"))
    again = Results(tmp_path)
    assert again.has(SENDS, "imserver", 1)
    assert not again.has(SENDS, "imserver", 2)
    assert not again.has(SENDS, "jetstream", 1)


def test_a_later_run_of_a_round_replaces_the_earlier_one(tmp_path):
    results = Results(tmp_path)
    results.add(run(SENDS, "imserver", sends_per_s=5.0))
    results.add(run(SENDS, "imserver", sends_per_s=9.0))
    for each in (results, Results(tmp_path)):
        assert each.spread(SENDS, "imserver", "sends_per_s") == (9.0, 9.0, 9.0)


def test_void_rounds_count_for_nothing(tmp_path):
    results = Results(tmp_path)
    for number, speed in enumerate((4.0, 30.0, 5.0)):
        results.add(run(SENDS, "imserver", number, sends_per_s=speed))
    results.add(run(SENDS, "imserver", 3, void="lost"))
    assert results.spread(SENDS, "imserver", "sends_per_s") == (5.0, 4.0, 30.0)
    assert results.spread(SENDS, "jetstream", "sends_per_s") is None


def test_the_histograms_of_all_rounds_are_added_up(tmp_path):
    results = Results(tmp_path)
    for number in (1, 2):
        results.add(run(SENDS, "imserver", number, histograms={"ack": [(5, 2), (9, 1)]}))
    assert results.latencies(SENDS, "ack") == {"imserver": [(5, 4), (9, 2)]}


def test_a_bench_that_was_killed_while_it_wrote_goes_on(tmp_path):
    results = Results(tmp_path)
    results.add(run(SENDS, "imserver", sends_per_s=5.0))
    with (tmp_path / "runs.jsonl").open("ab") as file:
        file.write(b'{"scenario": "sends-')
    Results(tmp_path).add(run(SENDS, "imserver", 2, sends_per_s=7.0))
    assert Results(tmp_path).by_round(SENDS, "imserver", "sends_per_s") == {1: 5.0, 2: 7.0}


def test_facts_of_a_bench_that_goes_on_are_added_to_the_earlier_ones(tmp_path):
    Results(tmp_path).add_facts({"machine": {"cpu": "old"}, "jetstream": {"version": "1"}})
    Results(tmp_path).add_facts({"machine": {"cpu": "new"}})
    expected = {"machine": {"cpu": "new"}, "jetstream": {"version": "1"}}
    assert Results(tmp_path).facts == expected
