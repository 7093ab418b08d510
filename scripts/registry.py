"""OCI image layouts to and from registries, byte for byte, by skopeo and oras (locked in scripts/tools/).

Skopeo shows progress and retries; but it annotates indexes of layers that are packed with zstd, so images of several
platforms are for oras, which leaves everything as it is.

A registry is spoken to with TLS, but on the loopback. Who has logged in with Docker is known to it.
References are Docker's, always with a host: `HOST[:PORT]/NAME[:TAG|@DIGEST]`.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from scripts import oci, toolset
from scripts.errors import AbsentError, RegistryError
from scripts.oci import Layout

ALTERED = "Digest did not match"  # what skopeo says of a blob that is not what its name says
_RETRIES = 2  # of what may pass, such as a connection that broke
_ENVIRONMENT = {
    # What skopeo remembers of registries stays in memory, not in a folder of the system's or the user's.
    "XDG_DATA_HOME": os.devnull,
    "_CONTAINERS_ROOTLESS_UID": "1",
}
_FATAL = re.compile(r'level=fatal msg="(?P<text>(?:[^"\\]|\\.)*)"')
_UPLOADED = re.compile(r"Upload of layer (?P<digest>sha256:[0-9a-f]{64}) complete")
_ABSENT = r"(manifest|name) unknown|not known to registry|[Nn]ot [Ff]ound"
# What skopeo and registries say -> what it means, and what to do; the first that fits counts.
_MEANINGS = {
    r"invalid reference": "is not a reference: HOST[:PORT]/NAME[:TAG], in lower case.",
    r"[Uu]nauthorized|authentication required|credential not found|denied|[Ff]orbidden": (
        "is refused without a name that may. Log in with: scripts/docker --config ~/.docker login {host}"
    ),
    _ABSENT: "is not there. Check name and tag; only what was pushed can be had.",
    rf"{ALTERED}|mismatched digest": "was not copied: a blob has other bytes than its digest says.",
    r"x509|tls:|gave HTTP response": (
        "is not at a registry that TLS vouches for. Only on the loopback none is needed; an authority of your own goes"
        " into /etc/docker/certs.d/{host}/ca.crt"
    ),
    r"connection re(fused|set)|no such host|time(d )?out|deadline|unreachable|no route|misbehaving|EOF": (
        "cannot be reached. Check the host's name and port, and the network. What was transferred so far is kept."
    ),
}
_AUTHORITIES = Path("/etc/docker/certs.d")  # of registries, by host (Docker's manual, "Verify repository client")
_NO_TLS = "server gave HTTP response to HTTPS client"
_ADDRESS = re.compile(r'"https?://[^"]*"')  # in which any word may stand


@dataclass(frozen=True)
class Copied:
    """A copy: the digest of what was copied, and those of the blobs that were not there before."""

    digest: str
    new: frozenset[str]


def is_reference(text: str) -> bool:
    """Whether `text` names something in a registry and not a folder: it begins with a host, as Docker tells these."""
    host, slash, _ = text.partition("/")
    return bool(slash) and host not in ("", ".", "..") and (host == "localhost" or "." in host or ":" in host)


def push(layout: Path, reference: str, started: Callable[[str], None] = lambda _digest: None) -> Copied:
    """Copy what a layout holds (one image, artifact or index) to `reference`; blobs that are there are not sent.

    `started` is called with the digest of each blob when its turn comes. Raises RegistryError.
    """
    lines = _copy("oci:.", f"docker://{reference}", layout, reference, started)
    return Copied(_only(layout), frozenset(match["digest"] for line in lines if (match := _UPLOADED.search(line))))


def pull(reference: str, layout: Path, started: Callable[[str], None] = lambda _digest: None) -> Copied:
    """Copy `reference` into a layout, in place of what it held; blobs that are there are not fetched.

    They are not looked at either: who is to believe them verifies them. Raises RegistryError; what was fetched until
    then is kept.
    """
    layout.mkdir(parents=True, exist_ok=True)
    (layout / "index.json").unlink(missing_ok=True)
    before = _blobs(layout)
    try:
        _copy(f"docker://{reference}", "oci:.", layout, reference, started)
    finally:
        for unfinished in layout.glob("oci-put-blob*"):
            unfinished.unlink()
    return Copied(_only(layout), _blobs(layout) - before)


def push_image(layout: Layout, reference: str) -> None:
    """Copy an image of several platforms to `reference`; what is there is not sent. Raises RegistryError.

    With the layout's own digest as reference no tag comes to name it.
    """
    oras(reference, ["cp", "--from-oci-layout", f".@{layout.index}"], side="to-", folder=layout.folder)


def pull_image(reference: str, folder: Path) -> Layout:
    """Copy an image of several platforms, which this build system made, into `folder`.

    Raises RegistryError, and BuildError if it is something else.
    """
    found = digest(reference)
    folder.mkdir(parents=True, exist_ok=True)
    repository = reference.partition("@")[0]
    name, colon, tag = repository.rpartition(":")
    repository = name if colon and "/" not in tag else repository
    oras(f"{repository}@{found}", ["cp", "--to-oci-layout"], [".:image"], side="from-", folder=folder)
    entries = json.loads((folder / "index.json").read_text())["manifests"]
    (top,) = (entry for entry in entries if entry["digest"] == found)  # oras lists what is in it as well
    oci.write_index(folder, {key: top[key] for key in ("mediaType", "digest", "size")})
    return oci.load(folder)


def digest(reference: str) -> str:
    """Digest of what `reference` names. Raises AbsentError if it names nothing, RegistryError."""
    command = [*_skopeo(), "inspect", "--raw", *_transport("", reference), f"docker://{reference}"]
    done = subprocess.run(command, env=os.environ | _ENVIRONMENT, capture_output=True, check=False)
    if done.returncode != 0:
        raise _error(reference, done.stderr.decode(errors="replace").splitlines())
    return oci.digest_of(done.stdout)


def tag(reference: str, tags: Sequence[str]) -> None:
    """Have `tags` of its repository name what `reference` names. Raises RegistryError."""
    oras(reference, ["tag"], tags)


def created(reference: str) -> int:
    """When an image says that it was made, in seconds since 1970; of several platforms, the first.

    Raises RegistryError, also if it is no image.
    """
    repository = reference.partition("@")[0]
    try:
        manifest = json.loads(oras(reference, ["manifest", "fetch"]))
        if "manifests" in manifest:
            manifest = json.loads(oras(f"{repository}@{manifest['manifests'][0]['digest']}", ["manifest", "fetch"]))
        found = json.loads(oras(f"{repository}@{manifest['config']['digest']}", ["blob", "fetch", "--output=-"]))
        return int(datetime.fromisoformat(found["created"]).timestamp())
    except (ValueError, LookupError, TypeError) as error:
        raise RegistryError(f"{reference} is no image, or does not say when it was made: {error!r}") from error


def _copy(source: str, target: str, layout: Path, reference: str, started: Callable[[str], None]) -> Sequence[str]:
    """Run `skopeo copy` in the folder `layout`, whose path may then have any letters; returns its log."""
    sides = [*_transport("src-", source), *_transport("dest-", target)]
    command = [
        *_skopeo(), "--debug", "--insecure-policy", "copy", "--all", "--preserve-digests", f"--retry-times={_RETRIES}",
        *sides, source, target,
    ]  # fmt: skip
    lines = []
    with subprocess.Popen(
        command, cwd=layout, env=os.environ | _ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    ) as process:  # fmt: skip
        try:
            for line in process.stdout or ():
                lines.append(line)
                if line.startswith("Copying blob "):
                    started(line.split()[2])
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise _error(reference, lines)
    return lines


def oras(
    reference: str, command: Sequence[str], more: Sequence[str] = (), *, side: str = "", folder: Path | None = None
) -> bytes:
    """What oras prints when it runs `command` about `reference`, in `folder`; `side` is of a copy that has two.

    As skopeo, it speaks without TLS if it must on the loopback, and looks for the authority in the same place.
    Raises RegistryError.
    """
    tool = toolset.unpack("oras").command("usr/bin/oras")
    transports = [f"--{side}insecure", f"--{side}plain-http"]
    if not is_loopback(reference):
        transports = [f"--{side}ca-file={authority(reference) or ''}"]
    for transport in transports:
        done = subprocess.run(
            [*tool, *command, transport, reference, *more], cwd=folder, capture_output=True, check=False
        )
        if done.returncode == 0:
            return done.stdout
        said = done.stderr.decode(errors="replace").strip().removeprefix("Error: ")
        if _NO_TLS not in said:
            break
    raise meaning(reference, said)


def _skopeo() -> list[str]:
    return toolset.unpack("skopeo").command("usr/bin/skopeo")


def _transport(side: str, place: str) -> list[str]:
    """Options for one side of a copy: whether a registry has to have a certificate."""
    if place.startswith("oci:"):
        return []
    return [f"--{side}tls-verify=false"] if is_loopback(place.removeprefix("docker://")) else []


def _host(reference: str) -> str:
    """Host of a reference, with its port."""
    return reference.partition("/")[0]


def authority(reference: str) -> Path | None:
    """Certificate of the authority that vouches for a registry, if it has one of its own."""
    found = _AUTHORITIES / _host(reference) / "ca.crt"
    return found if found.is_file() else None


def is_loopback(reference: str) -> bool:
    """Whether a registry is on this machine, so that it needs no TLS."""
    try:
        host = urlsplit(f"//{reference}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or not even that
        return False


def _error(reference: str, lines: Sequence[str]) -> Exception:
    """The error that skopeo's log ends with, in words."""
    found = [match["text"] for line in lines if (match := _FATAL.search(line))]
    return meaning(reference, str(json.loads(f'"{found[-1]}"')) if found else "".join(lines[-1:]).strip())


def meaning(reference: str, said: str) -> Exception:
    """What a tool has `said`, and what to do about it."""
    if "no space left on device" in said:
        return OSError(errno.ENOSPC, said)
    for pattern, meaning in _MEANINGS.items():
        if re.search(pattern, _ADDRESS.sub("", said)):
            kind = AbsentError if pattern == _ABSENT else RegistryError
            return kind(f"{reference} {meaning.format(host=_host(reference))}\n  {said}")
    return RegistryError(f"{reference} could not be copied:\n  {said}")


def _only(layout: Path) -> str:
    """Digest of the one thing that a layout holds."""
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    return str(entry["digest"])


def _blobs(layout: Path) -> frozenset[str]:
    return frozenset(f"sha256:{path.name}" for path in (layout / "blobs" / "sha256").glob("*"))
