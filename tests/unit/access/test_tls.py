"""Certificates: what is asked of the files, and whom a client's certificate names."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from imserver.access.tls import Certificates as ServedCertificates
from imserver.access.tls import names_in
from imserver.core.errors import InvalidSettings
from imserver.core.server_settings import ServerSettings
from tests.certificates import Certificates


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    certificates = Certificates(tmp_path / "certificates")
    certificates.issue_server()
    return certificates


def settings(certificates: Certificates, **others: Any) -> ServerSettings:
    given = {
        "tls_cert": str(certificates.server),
        "tls_key": str(certificates.server_key),
        **others,
    }
    return ServerSettings(**given)


def subject(*names: str) -> tuple[tuple[tuple[str, str]], ...]:
    return tuple(((("commonName", name)),) for name in names)


@pytest.mark.parametrize(
    ("certificate", "names"),
    [
        (None, set()),
        ({}, set()),
        ({"subject": subject("r1")}, {"r1"}),
        ({"subject": ((("organizationName", "r1"),),)}, set()),
        ({"subject": subject("r1"), "subjectAltName": (("DNS", "r2"),)}, {"r2"}),
        ({"subjectAltName": (("URI", "imserver:robot:r1"), ("DNS", "r2"))}, {"r1", "r2"}),
        ({"subjectAltName": (("URI", "https://r1"), ("email", "r1"))}, set()),
    ],
)
def test_a_certificate_names_robots_by_its_alternative_names_or_else_its_common_name(
    certificate: dict[str, Any] | None, names: set[str]
) -> None:
    assert names_in(certificate) == names


def test_old_versions_resumption_and_renegotiation_are_off(certificates: Certificates) -> None:
    context = ServedCertificates(settings(certificates)).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION and context.options & ssl.OP_NO_TICKET
    assert context.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("asked", "mode"), [("optional", ssl.CERT_OPTIONAL), ("required", ssl.CERT_REQUIRED)]
)
def test_clients_are_asked_for_certificates_as_set(
    certificates: Certificates, asked: str, mode: ssl.VerifyMode
) -> None:
    given = settings(certificates, tls_client_ca=str(certificates.ca), tls_client_certs=asked)
    assert ServedCertificates(given).context.verify_mode is mode


def test_a_missing_file_is_told_with_its_name(certificates: Certificates) -> None:
    certificates.server_key.unlink()
    with pytest.raises(InvalidSettings, match=r"server\.key"):
        ServedCertificates(settings(certificates))


def test_a_key_of_another_certificate_is_refused(certificates: Certificates) -> None:
    key = certificates.server_key.read_bytes()
    certificates.issue_server()
    certificates.server_key.write_bytes(key)
    with pytest.raises(InvalidSettings, match=r"(?i)mismatch"):
        ServedCertificates(settings(certificates))


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(
    certificates: Certificates,
) -> None:
    key = load_pem_private_key(certificates.server_key.read_bytes(), password=None)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    certificates.server_key.write_bytes(sealed)
    with pytest.raises(InvalidSettings, match="encrypted"):
        ServedCertificates(settings(certificates))


def test_authorities_that_are_none_are_told_with_their_file(certificates: Certificates) -> None:
    given = settings(certificates, tls_client_ca=str(certificates.server_key))
    with pytest.raises(InvalidSettings, match="tls_client_ca"):
        ServedCertificates(given)


def test_a_new_certificate_is_for_new_connections(certificates: Certificates) -> None:
    served = ServedCertificates(settings(certificates))
    before = served.context
    certificates.issue_server()
    served.reload()
    assert served.context is not before


def test_a_certificate_that_cannot_be_used_leaves_the_old_one_in_force(
    certificates: Certificates,
) -> None:
    served = ServedCertificates(settings(certificates))
    before = served.context
    certificates.server.write_text("none")
    served.reload()
    assert served.context is before
