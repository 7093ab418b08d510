"""Zones for the name server of a network, also signed ones (DNSSEC, RFC 4034, RFC 4035).

Everything is in one zone, the root, so that one key is all that a resolver has to know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import dns.dnssec
import dns.name
import dns.rdataset
import dns.zone
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Records = Mapping[str, Mapping[str, Sequence[str]]]  # by name and type, in the form of zone files
_AUTHORITY = {"SOA": ["ns. nobody. 1 3600 600 86400 60"], "NS": ["ns."]}
_TTL = 60  # seconds
_LIFETIME = timedelta(days=2)


@dataclass(frozen=True)
class SignedZone:
    """The text of a zone file, and the key that confirms it, as resolvers read it."""

    text: str
    anchor: str


def tlsa(certificate: bytes) -> str:
    """Record that confirms the key of a certificate in PEM, whoever issued it (DANE-EE, RFC 6698, 2.1: 3 1 1)."""
    key = x509.load_pem_x509_certificate(certificate).public_key()
    return f"3 1 1 {hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()}"


def plain(records: Records) -> str:
    """The zone without signatures."""
    return _zone(records).to_text()


def signed(records: Records) -> SignedZone:
    """The zone signed with a new key; what does not exist is proved not to (RFC 4035, 2.3)."""
    private = ec.generate_private_key(ec.SECP256R1())
    key = dns.dnssec.make_dnskey(private.public_key(), "ECDSAP256SHA256", flags=257)
    zone = _zone(records)
    dns.dnssec.sign_zone(zone, keys=[(private, key)], dnskey_ttl=_TTL, lifetime=int(_LIFETIME.total_seconds()))
    return SignedZone(zone.to_text(), f". IN DNSKEY {key.to_text()}\n")


def _zone(records: Records) -> dns.zone.Zone:
    zone = dns.zone.Zone(dns.name.root, relativize=False)
    with zone.writer() as writer:
        for name, types in ({".": _AUTHORITY} | dict(records)).items():
            for kind, texts in types.items():
                writer.replace(dns.name.from_text(name), dns.rdataset.from_text("IN", kind, _TTL, *texts))
    return zone
