"""Files that are signed by the real cosign, and what is not accepted as a signature."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import paths, signing
from scripts.errors import RegistryError, SigningError
from scripts.signing import Key, Keyless
from tests import keys
from tests.unit.conftest import REFUSING

REFERENCE = f"registry.example:5000/prosody@sha256:{'0' * 64}"
WORKFLOWS = Keyless("https://github.com", "some-body/images", "0123abc")


@pytest.fixture
def key(made: tuple[Key, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Key:
    """The key, of which the environment tells; there is no way to Sigstore's services."""
    keys.use(made[0], monkeypatch)
    for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, REFUSING)
    monkeypatch.setenv("XDG_CACHE_HOME", str(paths.user_cache().parent))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # where cosign would keep roots of trust
    return made[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file.json"
    path.write_text('{"a": 1}\n')
    return path


def test_a_file_is_signed_and_nobody_is_asked(key: Key, file: Path, tmp_path: Path) -> None:
    bundle = signing.sign_file(file, key)
    assert bundle == tmp_path / "a file.json.sigstore.json"
    value = json.loads(bundle.read_text())
    assert value["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert "tlogEntries" not in value["verificationMaterial"]
    signing.check_file(file, key)
    assert {path.name for path in tmp_path.iterdir()} == {file.name, bundle.name}, "also no cache of anything"


def test_a_signature_is_replaced(key: Key, file: Path) -> None:
    first = signing.sign_file(file, key).read_text()
    file.write_text("another")
    with pytest.raises(SigningError, match="no valid signature"):
        signing.check_file(file, key)
    assert signing.sign_file(file, key).read_text() != first
    signing.check_file(file, key)


def altered_signature(bundle: Path) -> None:
    """Change one bit of the signature."""
    value = json.loads(bundle.read_text())
    content = bytearray(base64.b64decode(value["messageSignature"]["signature"]))
    content[-1] ^= 1
    value["messageSignature"]["signature"] = base64.b64encode(content).decode()
    bundle.write_text(json.dumps(value))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda file: file.write_text('{"a": 2}\n'), id="file"),
        pytest.param(lambda file: altered_signature(signing.bundle_of(file)), id="signature"),
        pytest.param(lambda file: signing.bundle_of(file).write_text("{}"), id="bundle"),
        pytest.param(lambda file: signing.bundle_of(file).unlink(), id="no bundle"),
        pytest.param(lambda file: file.unlink(), id="no file"),
    ],
)
def test_what_was_altered_is_not_accepted(key: Key, file: Path, spoil: Callable[[Path], object]) -> None:
    signing.sign_file(file, key)
    spoil(file)
    with pytest.raises(SigningError, match="signature") as raised:
        signing.check_file(file, key)
    assert raised.value.exit_status == 24
    assert str(file) in str(raised.value)


def test_the_signature_of_somebody_else_or_of_something_else_is_not_accepted(
    key: Key, made: tuple[Key, Key], file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("other")
    signing.sign_file(other, key)
    signing.bundle_of(other).rename(signing.bundle_of(file))
    with pytest.raises(SigningError, match="no valid signature"):
        signing.check_file(file, key)
    signing.sign_file(file, made[1])
    with pytest.raises(SigningError, match="no valid signature"):
        signing.check_file(file, key)
    signing.check_file(file, made[1])


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_key_needs_its_password(
    key: Key, file: Path, password: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signing.sign_file(file, key).read_bytes()
    monkeypatch.delenv("COSIGN_PASSWORD")
    if password is not None:
        monkeypatch.setenv("COSIGN_PASSWORD", password)
    calls = (signing.public_key, lambda by: signing.sign_file(file, by), lambda by: signing.check_file(file, by))
    for call in calls:
        with pytest.raises(SigningError, match=re.escape(str(key.path))) as raised:
            call(key)
        assert (password or keys.PASSWORD) not in str(raised.value)
    assert signing.bundle_of(file).read_bytes() == before, "what is there stays"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_public_key_is_the_one_beside_the_private_one(key: Key) -> None:
    assert signing.public_key(key) == key.path.with_suffix(".pub").read_bytes()


def test_the_environment_names_who_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("COSIGN_KEY", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    assert signing.found() is None
    with pytest.raises(SigningError, match=r"Make a key with: scripts/cosign generate-key-pair.*id-token: write"):
        signing.signer()

    monkeypatch.setenv("GITHUB_SERVER_URL", WORKFLOWS.server)
    monkeypatch.setenv("GITHUB_REPOSITORY", WORKFLOWS.repository)
    monkeypatch.setenv("GITHUB_SHA", WORKFLOWS.commit)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://token.example")
    assert signing.found() is None, "without a token that is no job that may sign"
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "a token")
    assert signing.signer() == WORKFLOWS

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSIGN_KEY", "cosign.key")
    with pytest.raises(SigningError, match=r"no key cosign\.key, which COSIGN_KEY names"):
        signing.found()
    Path("cosign.key").touch()
    assert signing.signer() == Key(tmp_path / "cosign.key")


def test_others_are_told_how_to_verify() -> None:
    assert signing.commands(REFERENCE, Key(Path("/anywhere/cosign.key"))) == (
        f"cosign verify --key=cosign.pub --insecure-ignore-tlog=true {REFERENCE}"
    )
    program, verb, *options, reference = shlex.split(signing.commands(REFERENCE, WORKFLOWS))
    assert (program, verb, reference) == ("cosign", "verify", REFERENCE)
    found = dict(option.split("=", 1) for option in options)
    identity = re.compile(found.pop("--certificate-identity-regexp"))
    assert found == {
        "--certificate-oidc-issuer": "https://token.actions.githubusercontent.com",
        "--certificate-github-workflow-repository": "some-body/images",
        "--certificate-github-workflow-sha": "0123abc",
    }
    # As in certificates of Fulcio: the workflow that has the job, also if another one calls it.
    for name in ("release.yml@refs/tags/v1", "images.yml@refs/heads/main"):
        assert identity.search(f"https://github.com/some-body/images/.github/workflows/{name}")
    for repository in ("some-body/other", "some-body/images2", "else/some-body/images"):
        assert not identity.search(f"https://github.com/{repository}/.github/workflows/release.yml@refs/tags/v1")
    assert not identity.search("https://github.com.example/some-body/images/.github/workflows/release.yml@x")


def test_workflows_sign_without_a_key_and_are_verified_by_their_certificate(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what cosign is told: its services cannot be had in a test."""
    told = []

    def cosign(arguments: list[str], variables: object = None) -> subprocess.CompletedProcess[str]:
        told.append((arguments, variables))
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(signing, "_cosign", cosign)
    bundle = signing.sign_file(file, WORKFLOWS)
    signing.check_file(file, WORKFLOWS)
    (signed, _), (checked, variables) = told
    assert [word for word in signed if not word.startswith("--bundle=")] == [
        "sign-blob", "--yes", "--new-bundle-format", str(file),
    ]  # fmt: skip
    demanded = [word for word in shlex.split(signing.commands(REFERENCE, WORKFLOWS)) if "certificate" in word]
    assert checked == ["verify-blob", *demanded, "--new-bundle-format", f"--bundle={bundle}", str(file)]
    assert not variables


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("signing digest: POST https://registry.example:5000/v2/prosody/blobs/uploads/: 405", RegistryError),
        ('getting signer: getting key from Fulcio: Get "https://token.example/": connection refused', SigningError),
    ],
)
def test_faults_of_a_registry_are_told_from_others(said: str, kind: type[Exception]) -> None:
    assert type(signing._error(REFERENCE, WORKFLOWS, f"signing [{REFERENCE}]: {said}")) is kind
