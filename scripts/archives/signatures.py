"""Signatures of archive indexes, checked against keys committed as data: OpenPGP for Debian, RSA for Alpine.

debian-archive-keyring.pgp holds the public archive keys of Debian 12 and 13 as Debian publishes them
(https://ftp-master.debian.org/keys.html): the automatic, the security and the stable release keys.

alpine-keys/ has the public keys with which Alpine signs for the architectures of images here, as its package
alpine-keys ships them (https://gitlab.alpinelinux.org/alpine/aports, main/alpine-keys); their SHA-512 are those of its
APKBUILD.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pysequoia
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from scripts.errors import SignatureError

DEBIAN_KEYRING = Path(__file__).with_name("debian-archive-keyring.pgp")
ALPINE_KEYS = Path(__file__).with_name("alpine-keys")

# Names of signatures in apk's second format (apk-v2(5), "The signatures"); Alpine makes the first kind.
_SIGNATURE = re.compile(r"\.SIGN\.(?P<algorithm>RSA|RSA256|RSA512)\.(?P<key>[^/]+)")
_HASHES: dict[str, HashAlgorithm] = {
    "RSA": SHA1(),  # noqa: S303 - what Alpine signs with; a forger would need a second preimage, not a collision
    "RSA256": SHA256(),
    "RSA512": SHA512(),
}


@dataclass(frozen=True)
class Key:
    """A public key: the name of its file, and the SHA-256 of its SubjectPublicKeyInfo (RFC 5280) in hexadecimal."""

    name: str
    sha256: str


def signed_text(content: bytes, source: str) -> bytes:
    """The text that a cleartext-signed message (RFC 9580, section 7) carries, once its signature is proved.

    Only the signed text is returned: what stands around it in `content` is never read.
    Raises SignatureError, which names `source`, if no key of DEBIAN_KEYRING made a valid signature.
    """
    certificates = pysequoia.Cert.split_file(str(DEBIAN_KEYRING))
    try:
        verified = pysequoia.verify(bytes=content, store=lambda _key_ids: certificates)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise SignatureError(
            f"{source} is not signed by a key of {DEBIAN_KEYRING.name}: {reason}\n"
            "The mirror, or something on the way to it, gave something that Debian did not publish. Nothing of it was"
            " used. Try another mirror (DEBIAN_MIRROR=http://...)."
        ) from error
    return verified.bytes or b""


def rsa_key(signatures: Mapping[str, bytes], signed: bytes, source: str) -> Key:
    """The key that made one of `signatures` (names of apk's second format) of `signed`.

    Keys are those of ALPINE_KEYS, and of the folder that the environment variable ALPINE_KEYS names, for archives of
    one's own. Raises SignatureError, which names `source`, if none of them made a valid signature.
    """
    reasons = []
    for name, signature in signatures.items():
        match = _SIGNATURE.fullmatch(name)
        if match is None:
            continue
        key = _public_key(match["key"])
        if key is None:
            reasons.append(f"the key {match['key']} is not known")
            continue
        try:
            key.verify(signature, signed, PKCS1v15(), _HASHES[match["algorithm"]])
        except InvalidSignature:
            reasons.append(f"the signature by {match['key']} is not valid: the content was altered")
            continue
        encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Key(match["key"], hashlib.sha256(encoded).hexdigest())
    raise SignatureError(
        f"{source} is not signed by a key of Alpine: {'; '.join(reasons) or 'there is no RSA signature in it'}.\n"
        "The mirror, or something on the way to it, gave something that Alpine did not publish. Nothing of it was used."
        " Try another mirror (ALPINE_MIRROR=http://...); for an archive of your own, name the folder of its public keys"
        " (ALPINE_KEYS=...)."
    )


def _public_key(name: str) -> RSAPublicKey | None:
    """The key with this file name; Alpine's own come first, so that no other can take the name of one."""
    for path in (folder / name for folder in _key_folders()):
        if path.is_file():
            try:
                key = load_pem_public_key(path.read_bytes())
            except ValueError as error:
                raise SignatureError(f"{path} is not a public key in PEM: {error}") from error
            if not isinstance(key, RSAPublicKey):
                raise SignatureError(f"{path} is not an RSA key, and apk's second format has no others.")
            return key
    return None


def _key_folders() -> Iterable[Path]:
    yield ALPINE_KEYS
    if named := os.environ.get("ALPINE_KEYS"):
        yield Path(named)
