"""What the bench says to arguments that it does not take."""

import pytest

from bench.__main__ import main


@pytest.mark.parametrize("arguments", [["--set", "half"], ["--only", "nothing"], ["--frob"]])
def test_a_wrong_argument_is_told_in_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("imserver bench: ")
    assert said.count("\n") == 1
