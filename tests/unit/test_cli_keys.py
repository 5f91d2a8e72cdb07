"""What ``imserver keys`` prints and leaves on record."""

import os

from imserver.cli import run
from imserver.data.directory import DataDirectory


def test_a_ring_from_its_first_key_to_the_removal_of_it(tmp_path, capsys):
    def keys(*arguments):
        status = run(["keys", *arguments, "--data", str(tmp_path)])
        return status, capsys.readouterr()

    first = keys("new")[1].out.split()[0]
    status, said = keys("new")
    assert (status, "keys rotate" in said.err) == (1, True)
    second = keys("rotate")[1].out.split()[0]
    lines = keys("list")[1].out.splitlines()
    assert [line.split()[0] for line in lines] == [first, second]
    assert [line.endswith("current") for line in lines] == [False, True]
    assert keys("remove", second)[0] == 1
    assert keys("remove", first)[0] == 0
    assert keys("remove", first)[1].err.startswith(f"imserver: there is no key {first}")
    acts = DataDirectory(tmp_path).spool_path.read_text().splitlines()
    assert [first in act or second in act for act in acts] == [True, True, True]


def test_a_ring_may_lie_elsewhere(tmp_path, capsys, monkeypatch):
    place = tmp_path / "elsewhere.keys"
    assert run(["keys", "new", "--data", str(tmp_path / "data"), "--keys", str(place)]) == 0
    monkeypatch.setitem(os.environ, "IMSERVER_SEALING_KEYS", str(place))
    assert run(["keys", "list", "--data", str(tmp_path / "data")]) == 0
    assert "current" in capsys.readouterr().out
    assert not DataDirectory(tmp_path / "data").key_ring_path.exists()
