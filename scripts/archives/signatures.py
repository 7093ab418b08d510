"""OpenPGP signatures of archive indexes, checked against a keyring committed as data.

debian-archive-keyring.pgp holds the public archive keys of Debian 12 and 13 as Debian publishes them
(https://ftp-master.debian.org/keys.html): the automatic, the security and the stable release keys.
"""

from __future__ import annotations

from pathlib import Path

import pysequoia

from scripts.errors import SignatureError

DEBIAN_KEYRING = Path(__file__).with_name("debian-archive-keyring.pgp")


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
