"""The command ``cert``: what it makes, keeps and refuses."""

import ipaddress
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from imserver.cli import run


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = capsys.readouterr().out.splitlines()
    return dict(line.split(" ", 1) for line in lines)


def read(path: str | Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(path).read_bytes())


def alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def purposes(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_server_gets_a_certificate_for_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cert", "--out", str(tmp_path)]) == 0
    said = told(capsys)
    made, authority = read(said["cert"]), read(said["ca"])
    made.verify_directly_issued_by(authority)
    names = alternative_names(made)
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    assert names.get_values_for_type(x509.IPAddress) == addresses
    assert purposes(made) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 365


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    run(["cert", "--out", str(tmp_path)])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {name for name, mode in modes.items() if mode == 0o600} == {"ca.key", "server.key"}
    assert set(modes) == {"ca.key", "ca.pem", "server.key", "server.pem"}


def test_hosts_are_names_and_addresses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = ["--host", "robots.example.org", "--host", "192.0.2.7", "--days", "3"]
    assert run(["cert", "--out", str(tmp_path), *hosts]) == 0
    made = read(told(capsys)["cert"])
    names = alternative_names(made)
    assert names.get_values_for_type(x509.DNSName) == ["robots.example.org"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.0.2.7")]
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 3


def test_a_second_certificate_is_of_the_same_authority(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["cert", "--out", str(tmp_path)])
    first = told(capsys)
    authority = Path(first["ca"]).read_bytes()
    run(["cert", "--out", str(tmp_path)])
    second = told(capsys)
    assert Path(second["ca"]).read_bytes() == authority
    assert first["sha256"] != second["sha256"]


@pytest.mark.parametrize("robot", ["r1", "ca", "server"])
def test_a_robot_gets_a_certificate_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], robot: str
) -> None:
    run(["cert", "--out", str(tmp_path)])
    before = told(capsys)
    assert run(["cert", "--out", str(tmp_path), "--robot", robot]) == 0
    said = told(capsys)
    made = read(said["cert"])
    made.verify_directly_issued_by(read(said["ca"]))
    uris = alternative_names(made).get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == [f"imserver:robot:{robot}"]
    assert purposes(made) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert said["ca"] == before["ca"] and said["cert"] != before["cert"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--host", "not a host"], "robots.example.org"),
        (["--host", "x", "--robot", "r1"], "one of them"),
        (["--robot", "-"], "letter or a digit"),
        (["--days", "0"], "days"),
    ],
)
def test_what_it_cannot_do_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    assert run(["cert", "--out", str(tmp_path / "new"), *arguments]) == 2
    assert hint in capsys.readouterr().err


def test_an_authority_that_is_none_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca.pem").write_text("none")
    (tmp_path / "ca.key").write_text("none")
    assert run(["cert", "--out", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_half_an_authority_is_not_made_whole_by_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["cert", "--out", str(tmp_path)])
    (tmp_path / "ca.key").unlink()
    assert run(["cert", "--out", str(tmp_path)]) == 1
    assert "ca.key" in capsys.readouterr().err
