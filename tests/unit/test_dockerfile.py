from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import dockerfile, lock, mirrors, paths, variants
from scripts.errors import LockError, StaleError, UsageError, VariantError
from scripts.lock import LockedPackage
from scripts.variants import Health, Image, User
from tests.unit.conftest import Checkout

DEBIAN = variants.load("debian")
COMMITTED = lock.load(DEBIAN, lock.path_of("debian"))


def expanded(**image: object) -> str:
    """The Dockerfile of the debian variant with another image description."""
    return dockerfile.expand(replace(DEBIAN, image=replace(DEBIAN.image, **image)), COMMITTED)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", lock.locked_names())
def test_the_committed_file_is_what_variant_and_lock_give(name: str) -> None:
    variant = variants.load(name)
    text = dockerfile.expand(variant, lock.load(variant, lock.path_of(name)))
    assert text == dockerfile.path_of(name).read_text()
    assert dockerfile.difference(name) == ""


def test_the_same_input_gives_the_same_text() -> None:
    assert dockerfile.expand(DEBIAN, COMMITTED) == dockerfile.expand(variants.load("debian"), COMMITTED)


def stages(text: str) -> dict[str, list[list[str]]]:
    """The ADD lines of each stage of packages, without `ADD --link`."""
    found = {}
    for stage in text.split("FROM scratch AS packages-")[1:]:
        tag, _, rest = stage.partition("\n")
        lines = [line for line in rest.partition("\nFROM ")[0].splitlines() if line.startswith("ADD")]
        assert all(line.startswith("ADD --link --checksum=sha256:") for line in lines)
        found[tag] = [line.split()[2:] for line in lines]
    return found


def test_every_package_is_added_once_to_its_stage_with_its_own_url_and_checksum() -> None:
    """BuildKit does not look at the URL when it knows the checksum: a wrong one would go unnoticed."""

    def added(package: LockedPackage) -> list[str]:
        url = f"${{{mirrors.variable(package.archive)}}}/{package.path}"
        return [f"--checksum=sha256:{package.sha256}", url, f"/{package.layer}/"]

    found = stages(dockerfile.expand(DEBIAN, COMMITTED))
    assert list(found) == [platform.tag for platform in DEBIAN.platforms]
    for platform in DEBIAN.platforms:
        assert found[platform.tag] == [added(package) for package in COMMITTED.platforms[platform.name]]


def test_packages_come_from_the_locked_snapshot_by_default() -> None:
    text = dockerfile.expand(DEBIAN, COMMITTED)
    archives = {package.archive for packages in COMMITTED.platforms.values() for package in packages}
    before, after = text.split("\nFROM ", 1)
    defaults = dict(re.findall(r"^ARG (\w+)=(.*)$", before, re.MULTILINE))
    assert defaults == {
        mirrors.variable(archive): mirrors.public_url(archive, COMMITTED.snapshot) for archive in archives
    }
    # Each stage that uses a variable must name it, or it is empty there.
    for stage in after.split("\nFROM "):
        used = set(re.findall(r"\$\{(DEBIAN\w*_MIRROR)\}", stage))
        assert used <= set(re.findall(r"^ARG (\w+)$", stage, re.MULTILINE))


def test_layers_are_copied_lowest_first() -> None:
    last = dockerfile.expand(DEBIAN, COMMITTED).rsplit("\nFROM scratch\n", 1)[1]
    copied = re.findall(r"^COPY --link --from=assemble /layers/([a-z]+)\.\d+/ /$", last, re.MULTILINE)
    assert copied == [*DEBIAN.layers, "bill", "configuration"] == list(dockerfile.layers(DEBIAN))


def test_what_is_declared_is_in_the_file() -> None:
    text = expanded(
        user=User("somebody", 4711, "/home"),
        directories={"/some/where": "1777"},
        links={"/usr/bin/one": "two"},
        remove=("/usr/share/*",),
        environment={"NAME": "a value"},
        entrypoint=("/bin/x", "-y z"),
        health=Health(("/bin/h",), "7s", "8s", "9s", 4),
        ports=(80, 443),
        volumes=("/data",),
    )
    for line in (
        "user somebody 4711 '/home'",
        "directory 1777 '/some/where'",
        "link 'two' '/usr/bin/one'",
        "remove '/usr/share/*'",
        f"finish {COMMITTED.epoch}",
        'ENV NAME="a value"',
        'ENTRYPOINT ["/bin/x", "-y z"]',
        "HEALTHCHECK --interval=7s --timeout=8s --start-period=9s --retries=4 \\",
        '    CMD ["/bin/h"]',
        "EXPOSE 80 443",
        'VOLUME ["/data"]',
        "USER 4711:4711",
    ):
        assert f"\n{line}\n" in text
    assert f'org.opencontainers.image.version="{COMMITTED.version(DEBIAN)}"' in text


def test_what_is_not_declared_is_not_in_the_file() -> None:
    empty = Image(None, {}, {}, (), (), "", {}, (), None, (), ())
    text = dockerfile.expand(replace(DEBIAN, image=empty), COMMITTED)
    last = text.rsplit("\nFROM scratch\n", 1)[1]
    assert {line.split()[0] for line in last.splitlines() if line[:1].isupper()} == {"COPY", "LABEL"}


def test_no_label_depends_on_a_clock_or_a_commit() -> None:
    labels = re.findall(r"org\.opencontainers\.image\.(\w+)=", dockerfile.expand(DEBIAN, COMMITTED))
    assert not {"created", "revision"} & set(labels)
    assert {"title", "description", "version"} <= set(labels)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(
            "description: 'Prosody, \"quoted\" text'", r'description="Prosody, \"quoted\" text"', id="quotes in a label"
        ),
        pytest.param("description: Costs $PRICE only", r'description="Costs \$PRICE only"', id="dollar in a label"),
        pytest.param('description: "Two\\nlines of text"', "in no case", id="two lines in a label"),
        pytest.param("image: {environment: {X: $HOME}}", r'ENV X="\$HOME"', id="dollar in a variable"),
        pytest.param("image: {environment: {X: a<b&c}}", 'ENV X="a<b&c"', id="markup in a variable"),
        pytest.param("image: {links: {/a: it's}}", r"link 'it'\''s' '/a'", id="quote in a link"),
        pytest.param('image: {links: {/a: "x\\nend-of-image"}}', "in no case", id="end of the file in a link"),
    ],
)
def test_values_mean_what_they_say_or_are_refused(tmp_path: Path, text: str, line: str) -> None:
    shutil.copy(paths.VARIANTS / "debian.yaml", tmp_path)
    (tmp_path / "child.yaml").write_text(f"extends: debian\n{text}\n")
    try:
        variant = variants.load("child", tmp_path)
    except VariantError:
        return
    assert line in dockerfile.expand(variant, COMMITTED)


def test_check_fails_with_a_difference(checkout: Checkout) -> None:
    checkout.edit("images/debian/Dockerfile", "USER 5222:5222", "USER 0:0")
    before = (checkout.root / "images/debian/Dockerfile").read_text()
    done = checkout.run("dockerfile", "--check")
    assert done.returncode == StaleError.exit_status == 18
    for line in ("--- images/debian/Dockerfile (committed)", "-USER 0:0", "+USER 5222:5222"):
        assert f"\n{line}\n" in done.stderr
    assert "scripts/nox -s expand" in done.stderr
    assert (checkout.root / "images/debian/Dockerfile").read_text() == before, "--check writes nothing"
    assert checkout.run("dockerfile").returncode == 0
    done = checkout.run("dockerfile", "--check")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "Left out, because there is no lock yet: alpine. Make one by name: scripts/nox -s lock -- alpine"
    ]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("variants/debian.yaml", "the production default.", "the production default!"),
        ("images/assemble.sh", "set -eu", "set -eux"),
        ("images/Dockerfile.j2", "# Every byte", "# Each byte"),
    ],
    ids=["variant", "script", "template"],
)
def test_check_notices_a_change_of_any_source(checkout: Checkout, name: str, old: str, new: str) -> None:
    checkout.edit(name, old, new)
    assert checkout.run("dockerfile", "--check").returncode == StaleError.exit_status


def test_a_missing_file_is_stale_and_written_anew(checkout: Checkout) -> None:
    path = checkout.root / "images/debian/Dockerfile"
    text = path.read_text()
    path.unlink()
    done = checkout.run("dockerfile", "--check", "debian")
    assert done.returncode == StaleError.exit_status
    assert "+FROM scratch AS packages-amd64" in done.stderr
    assert "images/debian/Dockerfile: written" in checkout.run("dockerfile", "debian").stderr
    assert path.read_text() == text
    assert "images/debian/Dockerfile: up to date" in checkout.run("dockerfile", "debian").stderr


def test_a_lock_for_another_state_of_the_variant_is_refused(checkout: Checkout) -> None:
    checkout.edit("variants/debian.yaml", "  mawk: base-files wants an awk for its scripts\n", "")
    done = checkout.run("dockerfile", "debian")
    assert done.returncode == LockError.exit_status
    assert "was made for another state of debian.yaml" in done.stderr


def test_an_unknown_variant_exits_without_traceback(checkout: Checkout) -> None:
    done = checkout.run("dockerfile", "debain")
    assert done.returncode == UsageError.exit_status == 2
    assert "did you mean 'debian'" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_locked_variant_has_its_folder() -> None:
    """Alpine's mirrors could not be reached yet when its variant was written."""
    assert {path.parent.name for path in paths.IMAGES.glob("*/Dockerfile")} == set(lock.locked_names())
    assert set(variants.names()) - set(lock.locked_names()) <= {"alpine"}
