"""Signatures of images in registries, and of files, by cosign (locked in scripts/tools/).

    scripts/cosign generate-key-pair          # makes a key; any other command of cosign works as well

Who signs is in the environment. With a key in a file (COSIGN_KEY, and its password in COSIGN_PASSWORD) nobody is asked
but the registry. A workflow on GitHub that may ask for a token ("id-token: write") needs no key: Sigstore's authority
certifies which workflow it is, and a public log keeps that.

The signature of an image, an index or a referrer is where `cosign verify` looks by default, at the tag
`sha256-<digest>.sig` (cosign's SIGNATURE_SPEC): every registry has tags, and all versions of cosign read that. The
signature of a file is a Sigstore bundle beside it.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts import errors, paths, registry, toolset
from scripts.errors import SigningError

# What a job on GitHub has if it may ask for a token, and who issues that (GitHub, "OpenID Connect reference").
_TOKEN = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
_ISSUER = "https://token.actions.githubusercontent.com"
_HOW = (
    " Make a key with: scripts/cosign generate-key-pair, and set COSIGN_KEY=cosign.key and COSIGN_PASSWORD."
    " On GitHub, a job with the permission `id-token: write` needs none."
)
_PUBLIC_KEY = "COSIGN_PUBLIC_KEY"  # the variable in which cosign is handed a public key
# Where a key decides alone, cosign wants roots of trust all the same, or fetches them: here are none.
_NO_ROOTS = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'
# What `cosign verify` ends with (its EXIT_CODES): no signature, none that is valid, or none by a certificate.
_NOT_SIGNED = (10, 12, 13)


@dataclass(frozen=True)
class Key:
    """A private key in a file; its password is in COSIGN_PASSWORD."""

    path: Path

    def __str__(self) -> str:
        return f"the key {self.path}"


@dataclass(frozen=True)
class Keyless:
    """Workflows on GitHub (`server`, an address) of a repository (`OWNER/NAME`), at a commit of it."""

    server: str
    repository: str
    commit: str

    def __str__(self) -> str:
        return f"a workflow of {self.server}/{self.repository} at {self.commit}"


Signer = Key | Keyless


def found() -> Signer | None:
    """Who signs, if the environment names somebody. Raises SigningError if that is a key that is not there."""
    name = os.environ.get("COSIGN_KEY")
    if name:
        if not Path(name).is_file():
            raise SigningError(f"There is no key {name}, which COSIGN_KEY names.{_HOW}")
        return Key(Path(name).absolute())
    if all(map(os.environ.get, _TOKEN)):
        return Keyless(*(os.environ[f"GITHUB_{what}"] for what in ("SERVER_URL", "REPOSITORY", "SHA")))
    return None


def signer() -> Signer:
    """Who signs. Raises SigningError if that is nobody."""
    named = found()
    if named is None:
        raise SigningError(f"Nobody is named who signs.{_HOW}")
    return named


def public_key(by: Key) -> bytes:
    """The public half of a key, in PEM. Raises SigningError, also if COSIGN_PASSWORD is not the key's."""
    return _public_key(by, os.environ.get("COSIGN_PASSWORD"))


@functools.cache  # passwords are made slow to try
def _public_key(by: Key, _password: str | None) -> bytes:
    done = _cosign(["public-key", f"--key={by.path}"])
    if done.returncode != 0:
        raise SigningError(f"{by} cannot be used. Is its password in COSIGN_PASSWORD?\n  {_said(done)}")
    return done.stdout.encode()


def sign(reference: str, by: Signer) -> bool:
    """Sign `HOST[:PORT]/NAME@DIGEST`, an image, an index or a referrer; False if this signer has, and nothing is sent.

    Raises SigningError or RegistryError.
    """
    if not _complaint(reference, by):
        return False
    done = _cosign(["sign", *_identity(by), *_access(reference), reference])
    if done.returncode != 0:
        raise _error(reference, by, _said(done))
    check(reference, by)  # cosign has not looked at blobs that were there before
    return True


def check(reference: str, by: Signer) -> None:
    """Raise SigningError unless `HOST[:PORT]/NAME@DIGEST` has a valid signature of this signer; or RegistryError."""
    complaint = _complaint(reference, by)
    if complaint:
        raise SigningError(f"{reference} has no valid signature of {by}.\n  {complaint}")


def _complaint(reference: str, by: Signer) -> str:
    """What is wrong with the signatures at `reference`; empty if there is one of this signer."""
    # cosign does not tell what is not there from what is not signed, and in private networks it does without TLS.
    registry.digest(reference)
    variables = {_PUBLIC_KEY: public_key(by).decode()} if isinstance(by, Key) else {}
    done = _cosign(["verify", *_demands(by, f"env://{_PUBLIC_KEY}"), *_access(reference), reference], variables)
    if done.returncode not in (0, *_NOT_SIGNED):
        raise _error(reference, by, _said(done))
    return _said(done) if done.returncode else ""


def commands(reference: str, by: Signer) -> str:
    """The command line by which anybody verifies the signature; for a key, with its public half in cosign.pub."""
    return shlex.join(["cosign", "verify", *_demands(by, "cosign.pub"), reference])


def sign_file(path: Path, by: Signer) -> Path:
    """Write the bundle of a file beside it, in place of one that is there. Raises SigningError."""
    bundle = bundle_of(path)
    with paths.replacing(bundle) as temporary:
        done = _cosign(["sign-blob", *_identity(by), "--new-bundle-format", f"--bundle={temporary}", str(path)])
        if done.returncode != 0:
            raise SigningError(f"{path} could not be signed by {by}.\n  {_said(done)}")
    return bundle


def check_file(path: Path, by: Signer) -> None:
    """Raise SigningError unless the bundle beside a file has a valid signature of it, of this signer."""
    bundle = bundle_of(path)
    if not bundle.is_file():
        raise SigningError(f"{path} has no signature: there is no {bundle.name} beside it.")
    variables = {_PUBLIC_KEY: public_key(by).decode()} if isinstance(by, Key) else {}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as roots:
        roots.write(_NO_ROOTS)
        roots.flush()
        trusted = [f"--trusted-root={roots.name}"] if isinstance(by, Key) else []
        done = _cosign(
            ["verify-blob", *_demands(by, f"env://{_PUBLIC_KEY}"), *trusted, "--new-bundle-format",
             f"--bundle={bundle}", str(path)],
            variables,
        )  # fmt: skip
    if done.returncode != 0:
        raise SigningError(f"{path} has no valid signature of {by}.\n  {_said(done)}")


def bundle_of(path: Path) -> Path:
    """Where the bundle of a file is."""
    return path.with_name(f"{path.name}.sigstore.json")


def _identity(by: Signer) -> list[str]:
    """Options with which cosign signs."""
    return ["--yes", *([f"--key={by.path}", "--tlog-upload=false"] if isinstance(by, Key) else [])]


def _demands(by: Signer, key: str) -> list[str]:
    """Options with which cosign accepts signatures of this signer only; `key` is where its public key is."""
    if isinstance(by, Key):
        return [f"--key={key}", "--insecure-ignore-tlog=true"]
    # A certificate is made out to the workflow that the job is written in (Fulcio's "OIDC Usage"), which may be one
    # that another one calls. So its name is open, and repository and commit, of the run, are not.
    return [
        f"--certificate-oidc-issuer={_ISSUER}",
        f"--certificate-identity-regexp=^{re.escape(f'{by.server}/{by.repository}/.github/workflows/')}",
        f"--certificate-github-workflow-repository={by.repository}",
        f"--certificate-github-workflow-sha={by.commit}",
    ]


def _access(reference: str) -> list[str]:
    """Options with which cosign speaks with a registry, as skopeo and oras do."""
    if registry.is_loopback(reference):
        return ["--allow-http-registry", "--allow-insecure-registry"]
    authority = registry.authority(reference)
    return [f"--registry-cacert={authority}"] if authority else []


def _cosign(arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run cosign, which asks nobody."""
    return subprocess.run(
        [*_program(), *arguments],
        env=os.environ | dict(variables or {}), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _program() -> list[str]:
    return toolset.unpack("cosign").command("usr/bin/cosign")


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """The error that cosign has printed, once."""
    return done.stderr.rpartition("Error: ")[2].partition("error during command execution")[0].strip()


def _error(reference: str, by: Signer, said: str) -> Exception:
    """What cosign has `said`: the registry's fault if it tells of a request to that."""
    host = reference.partition("/")[0]
    if f"//{host}/v2/" in said:
        return registry.meaning(reference, said)
    return SigningError(f"{reference} could not be signed, or verified, by {by}.\n  {said}")


def main(arguments: Sequence[str]) -> None:
    """Command line of this module: cosign's own."""
    program = _program()
    os.execv(program[0], [*program, *arguments])  # noqa: S606


if __name__ == "__main__":
    errors.run(main)
