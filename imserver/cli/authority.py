"""A certificate authority in a folder, for development: it signs for servers and robots."""

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imserver.cli.failure import WrongUse
from imserver.protocol.names import clip
from imserver.protocol.proof import ROBOT_URI

CA_CERTIFICATE: Final = "ca.pem"
CA_KEY: Final = "ca.key"
CA_DAYS: Final = 3_650
_AUTHORITY: Final = "imserver development authority"
_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_CLOCK_SLACK: Final = dt.timedelta(hours=1)
"""Certificates begin to be good in the past: the clocks of robots differ."""


class Issued(NamedTuple):
    """A certificate and its key, in PEM, and the SHA-256 of the certificate in hex."""

    certificate: bytes
    key: bytes
    sha256: str


class Authority:
    """Signs certificates with a key in a folder."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def in_folder(cls, folder: Path, now: dt.datetime) -> Self:
        """Return the authority of a folder, making one if there is none.

        Raises:
            WrongUse: its files are no authority.
            OSError: they cannot be read or written.
        """
        certificate_path, key_path = folder / CA_CERTIFICATE, folder / CA_KEY
        if not (certificate_path.exists() or key_path.exists()):
            authority = cls._new(now)
            write(key_path, _pem(authority._key), mode=0o600)
            write(certificate_path, authority._certificate.public_bytes(Encoding.PEM), mode=0o644)
            return authority
        try:
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            key = load_pem_private_key(key_path.read_bytes(), password=None)
        except (ValueError, TypeError) as exc:
            raise WrongUse(f"{folder} holds no authority that can be used: {exc}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise WrongUse(f"{key_path} is not a key that this command made; name another folder")
        return cls(certificate, key)

    @classmethod
    def _new(cls, now: dt.datetime) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named(_AUTHORITY)
        lasts = dt.timedelta(days=CA_DAYS)
        unsigned = _begun(name, key.public_key(), now=now, lasts=lasts).issuer_name(name)
        unsigned = unsigned.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        unsigned = unsigned.add_extension(_usage(signs_others=True), critical=True)
        unsigned = unsigned.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        return cls(unsigned.sign(key, SHA256()), key)

    def for_server(self, hosts: Sequence[str], *, now: dt.datetime, days: int) -> Issued:
        """Return a certificate for a server that is reached under these names and addresses.

        Raises:
            WrongUse: one of them is neither.
        """
        names = [_host(host) for host in hosts]
        return self._issue(names, ExtendedKeyUsageOID.SERVER_AUTH, now=now, days=days)

    def for_robot(self, robot: str, *, now: dt.datetime, days: int) -> Issued:
        """Return a certificate that names a robot, as which its bearer is let in."""
        names = [x509.UniformResourceIdentifier(ROBOT_URI + robot)]
        return self._issue(names, ExtendedKeyUsageOID.CLIENT_AUTH, now=now, days=days)

    def _issue(
        self,
        names: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        *,
        now: dt.datetime,
        days: int,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        lasts = dt.timedelta(days=days)
        certificate = (
            _begun(_named("imserver"), key.public_key(), now=now, lasts=lasts)
            .issuer_name(self._certificate.subject)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_others=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer.value),
                critical=False,
            )
            .sign(self._key, SHA256())
        )
        pem = certificate.public_bytes(Encoding.PEM)
        return Issued(pem, _pem(key), certificate.fingerprint(SHA256()).hex())


def write(path: Path, content: bytes, *, mode: int) -> None:
    """Put a file in place, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    unfinished.replace(path)


def _begun(
    name: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    *,
    now: dt.datetime,
    lasts: dt.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + lasts)
    )


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _HOST.fullmatch(name):
        raise WrongUse(f"{clip(name)!r} is no host; name one as in robots.example.org or 192.0.2.7")
    return x509.DNSName(name)


def _usage(*, signs_others: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_others,
        key_cert_sign=signs_others,
        crl_sign=signs_others,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
