"""A certificate authority for tests: real certificates with any names, dates and keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Pair:
    """A certificate with its key, as PEM."""

    certificate: bytes
    chain: bytes
    key: bytes
    traditional_key: bytes
    encrypted_key: bytes
    serial: int

    @property
    def full(self) -> bytes:
        """The certificate, then the one of the authority that issued it."""
        return self.certificate + self.chain

    def put(self, folder: Path, name: str) -> None:
        """Write `name`.key and `name`.crt into a folder, for a server that is any user."""
        for path, content in ((folder / f"{name}.key", self.key), (folder / f"{name}.crt", self.full)):
            path.write_bytes(content)
            path.chmod(0o644)
        folder.chmod(0o755)


def _name(text: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, text),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"),
        ]
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """Issues certificates; clients verify them with `root`."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._root = self._sign(
            _name("Test Root"), self._root_key, _name("Test Root"), self._root_key, now, timedelta(days=900), None
        )
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(
            _name("Test Intermediate"), self._key, _name("Test Root"), self._root_key, now, timedelta(days=800), None
        )
        self.root = self._root.public_bytes(Encoding.PEM)

    def issue(
        self,
        names: Sequence[str],
        *,
        valid_from: timedelta = timedelta(hours=-1),
        valid_for: timedelta = timedelta(days=90),
        with_rsa: bool = False,
    ) -> Pair:
        """A certificate for `names` (ASCII form) or addresses, valid from an offset to now on."""
        key: _Key = rsa.generate_private_key(65537, 2048) if with_rsa else ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            _name(names[0][:60]),
            key,
            _name("Test Intermediate"),
            self._key,
            datetime.now(UTC) + valid_from,
            valid_for,
            names,
        )
        return Pair(
            certificate.public_bytes(Encoding.PEM),
            self._certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
            certificate.serial_number,
        )

    @staticmethod
    def _sign(
        subject: x509.Name,
        key: _Key,
        issuer: x509.Name,
        issuer_key: ec.EllipticCurvePrivateKey,
        start: datetime,
        lifetime: timedelta,
        names: Sequence[str] | None,
    ) -> x509.Certificate:
        public = key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + lifetime)
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=names is not None,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=names is None,
                    crl_sign=names is None,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        )
        if names is not None:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
            ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return builder.sign(issuer_key, hashes.SHA256())
