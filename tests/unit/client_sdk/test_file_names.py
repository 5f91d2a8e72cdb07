"""Where a downloaded file goes, whatever the event says that refers to it."""

from pathlib import Path

import pytest

from client_sdk.file_calls import _target


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"file": "id", "name": "map.png"}, "map.png"),
        ({"file": "id", "name": "../../.bashrc"}, "bashrc"),
        ({"file": "id", "name": "..."}, "id"),
        ({"file": "id", "name": None}, "id"),
        ({"file": "id"}, "id"),
        ({"file": "/etc/passwd", "name": "..."}, "passwd"),
        ({"file": "id?/../../etc/passwd"}, "passwd"),
        ({"file": "..", "name": "."}, "file"),
    ],
)
def test_no_name_and_no_id_leads_out_of_the_directory(tmp_path: Path, said: object, name: str):
    assert _target(tmp_path, said) == tmp_path / name  # type: ignore[arg-type]


@pytest.mark.parametrize("to", ["none/", "none/map.png"])
def test_a_directory_that_is_not_there_is_no_name_for_the_file(tmp_path: Path, to: str):
    with pytest.raises(FileNotFoundError, match="no such directory") as refused:
        _target(f"{tmp_path}/{to}", {"file": "id", "name": "map.png"})
    assert refused.value.filename == str(tmp_path / "none")
