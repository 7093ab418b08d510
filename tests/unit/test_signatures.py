from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pysequoia
import pytest

from scripts.archives import signatures
from scripts.errors import SignatureError
from tests.unit import signed
from tests.unit.signed import sign

TEXT = "Codename: trixie\nDate: today\n"
SOURCE = "debian/dists/trixie/InRelease"

pytestmark = pytest.mark.usefixtures("keyring")


def test_the_signed_text_is_returned(keys: signed.Keys) -> None:
    assert signatures.signed_text(sign(TEXT, keys[0]), SOURCE).strip() == TEXT.strip().encode()


def test_lines_that_begin_with_a_hyphen_survive(keys: signed.Keys) -> None:
    text = "- one\n-----BEGIN PGP SIGNATURE-----\nFrom two\n"
    assert signatures.signed_text(sign(text, keys[0]), SOURCE).strip() == text.strip().encode()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda content: content.replace(b"trixie", b"trixiE"), id="one letter"),
        pytest.param(lambda content: content.replace(b"Date:", b"Evil: yes\nDate:"), id="a line added"),
        pytest.param(lambda content: content.replace(b"Date: today\n", b""), id="a line taken away"),
        pytest.param(lambda content: content[: len(content) // 2], id="truncated"),
        pytest.param(lambda content: content.replace(b"-----END PGP SIGNATURE-----", b""), id="no end"),
        pytest.param(lambda _content: TEXT.encode(), id="not signed"),
        pytest.param(lambda _content: b"", id="empty"),
        pytest.param(lambda _content: b"<html><body>Log in to this network</body></html>", id="captive portal"),
        pytest.param(lambda _content: bytes(range(256)), id="bytes"),
    ],
)
def test_what_is_not_signed_is_refused(keys: signed.Keys, spoil: Callable[[bytes], bytes]) -> None:
    content = sign(TEXT, keys[0])
    assert spoil(content) != content
    with pytest.raises(SignatureError) as caught:
        signatures.signed_text(spoil(content), SOURCE)
    assert str(caught.value).startswith(f"{SOURCE} is not signed by a key of keyring.pgp: ")
    assert "Try another mirror" in str(caught.value)


def test_another_key_is_not_trusted(keys: signed.Keys) -> None:
    with pytest.raises(SignatureError, match=r"is not signed by a key of keyring\.pgp"):
        signatures.signed_text(sign(TEXT, keys[1]), SOURCE)


def test_a_signature_of_something_else_is_refused(keys: signed.Keys) -> None:
    """The signature is good and the key is trusted, but they belong to another text."""
    head, mark, signature = sign("Codename: sid\n", keys[0]).partition(b"-----BEGIN PGP SIGNATURE-----")
    assert head
    text = sign(TEXT, keys[0]).partition(b"-----BEGIN PGP SIGNATURE-----")[0]
    with pytest.raises(SignatureError):
        signatures.signed_text(text + mark + signature, SOURCE)


def test_any_key_of_the_keyring_may_sign(keys: signed.Keys, keyring: Path) -> None:
    keyring.write_bytes(b"".join(bytes(key.extract_certificate()) for key in keys))
    for key in keys:
        assert signatures.signed_text(sign(TEXT, key), SOURCE).strip() == TEXT.strip().encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"Codename: evil\n\n", b""), (b"", b"\nCodename: evil\n"), (b"Codename: evil\n\n", b"\nCodename: evil\n")],
    ids=["before", "after", "around"],
)
def test_what_stands_outside_the_signature_is_not_read(keys: signed.Keys, before: bytes, after: bytes) -> None:
    try:
        text = signatures.signed_text(before + sign(TEXT, keys[0]) + after, SOURCE)
    except SignatureError:
        return  # refusing it altogether is as good
    assert text.strip() == TEXT.strip().encode()


def test_a_second_message_behind_the_first_is_not_read(keys: signed.Keys) -> None:
    for other in (sign("Codename: evil\n", keys[1]), sign("Codename: evil\n", keys[0])):
        try:
            text = signatures.signed_text(sign(TEXT, keys[0]) + other, SOURCE)
        except SignatureError:
            continue
        assert text.strip() == TEXT.strip().encode()


def test_a_message_by_somebody_else_before_the_good_one_is_not_read(keys: signed.Keys) -> None:
    try:
        text = signatures.signed_text(sign("Codename: evil\n", keys[1]) + sign(TEXT, keys[0]), SOURCE)
    except SignatureError:
        return
    assert b"evil" not in text


def test_the_committed_keyring_holds_certificates_only() -> None:
    path = Path(signatures.__file__).with_name("debian-archive-keyring.pgp")
    certificates = pysequoia.Cert.split_file(str(path))
    assert len(certificates) >= 4
    # The first packet of each is a public key: tag 6, in the old or the new format (RFC 9580, sections 4.2 and 5).
    assert {bytes(certificate)[0] for certificate in certificates} <= {0x98, 0x99, 0x9A, 0xC6}
    assert all("debian.org" in str(certificate.user_ids[0]) for certificate in certificates)
