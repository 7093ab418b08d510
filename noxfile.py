"""Every task of this project. A session is a few lines; the work is in scripts/.

`scripts/nox` alone runs every check. Sessions share one environment, .venv, made from requirements.txt.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "unit", "build", "integration"]

ROOT = Path(__file__).parent
BIN = ROOT / ".venv" / "bin"
WORKERS = "5"  # processes of the integration tests, which wait for containers most of the time


def run(session: nox.Session, program: str, *arguments: str) -> None:
    """Run a program of the project's environment, which is made first if nox itself runs from elsewhere (uvx nox)."""
    if Path(sys.prefix) != BIN.parent:
        session.run("scripts/environment", external=True, silent=True)
    # The files of this repository are UTF-8 whatever the user's locale is (PEP 540).
    session.run(str(BIN / program), *arguments, external=True, env={"PYTHONUTF8": "1"})


def verb(session: nox.Session, name: str, *arguments: str) -> None:
    """Run `python -m scripts.<name>`; its exit status is the session's."""
    run(session, "python", "-m", f"scripts.{name}", *arguments, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check code, YAML, shell, Dockerfiles and Lua, and that generated files are up to date."""
    run(session, "ruff", "check")
    run(session, "ruff", "format", "--check")
    run(session, "mypy")
    run(session, "yamllint", "--strict", ".")
    run(session, "python", "-m", "scripts.lint")
    run(session, "python", "-m", "scripts.dockerfile", "--check")
    run(session, "python", "-m", "scripts.catalogue", "--check")
    run(session, "python", "-m", "scripts.dependencies", "--check")
    run(session, "python", "-m", "tests.bench.sizes", "--check")
    run(session, "python", "-m", "tests.profiles", "--check")


@nox.session
def unit(session: nox.Session) -> None:
    """Test the build system and the image's Lua; no engine needed. Arguments go to pytest."""
    run(session, "pytest", "tests/unit", "-n", "2", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build variants: `-- debian [--platform linux/arm64|all]`; without arguments all locked, for all platforms."""
    # In CI a package that the archive has dropped must not block a change: the build locks again, for itself only.
    verb(session, "build", *(["--relock-gone"] if os.environ.get("CI") else []))


@nox.session
def integration(session: nox.Session) -> None:
    """Test the built images with real clients and servers: `-- [VARIANT ...] [ARGUMENTS]`; the latter go to pytest."""
    # Only what comes first names variants: in `-k jitsi` it does not.
    chosen = [*itertools.takewhile(lambda name: (ROOT / "variants" / f"{name}.yaml").is_file(), session.posargs)]
    arguments = session.posargs[len(chosen) :]
    # Files and tests may be named as pytest names them. Without any, all are meant, but those that are left out.
    leaving_out = {"--deselect", "--ignore", "--ignore-glob"}
    named = (word for option, word in itertools.pairwise(["", *arguments]) if option not in leaving_out)
    folders = [] if any(word.startswith("tests/") for word in named) else ["tests/integration"]
    reports = ROOT / "dist" / "test-artifacts"
    run(
        session, "pytest", *folders, "-n", WORKERS, f"--junitxml={reports / 'integration.xml'}",
        f"--html={reports / 'integration.html'}", "--self-contained-html",
        *(f"--variant={name}" for name in chosen), *arguments,
    )  # fmt: skip


@nox.session
def steadiness(session: nox.Session) -> None:
    """Run all integration tests ten times, and record that in docs/steadiness.md: `-- [RUNS]`."""
    run(session, "python", "-m", "tests.integration.steadiness", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Lock variants against their archives: `-- [--at INSTANT] [--markdown FILE] [NAME ...]`; tells what changed."""
    verb(session, "relock")


@nox.session
def expand(session: nox.Session) -> None:
    """Write the Dockerfiles from variants and locks; `-- --check` fails with a diff if one is stale."""
    verb(session, "dockerfile")


@nox.session
def generate(session: nox.Session) -> None:
    """Write what is made from images/environment.yaml and images/modules.yaml; `-- --check` fails if one is stale."""
    verb(session, "catalogue")


@nox.session
def compliance(session: nox.Session) -> None:
    """Ask a running server what it supports (XEP-0479), and write docs/compliance.md."""
    run(session, "python", "-m", "tests.integration.compliance", *session.posargs)


@nox.session
def profiles(session: nox.Session) -> None:
    """Run tests of the image under strace, and write the profiles for seccomp and AppArmor in deploy/."""
    run(session, "python", "-m", "tests.profiles", *session.posargs)


@nox.session
def digests(session: nox.Session) -> None:
    """Build all platforms and record their digests: `-- [NAME ...]`."""
    verb(session, "build", "--update-digests")


@nox.session
def verify(session: nox.Session) -> None:
    """Rebuild from nothing, and compare with what is committed or published: `-- [NAME ...] [--against REFERENCE]`."""
    verb(session, "verify")


@nox.session
def matrix(session: nox.Session) -> None:
    """Print variant x platform as JSON for CI: `-- [NAME ...] [--platform PLATFORM] [--native] [--output FILE]`."""
    verb(session, "matrix")


@nox.session
def scan(session: nox.Session) -> None:
    """Scan images and their packages: `-- [NAME ...] [--only vulnerabilities|freshness|image] [--tracker FILE]`."""
    verb(session, "scan")


@nox.session
def audit(session: nox.Session) -> None:
    """Audit the Python packages used here, and write docs/dependencies.md: `-- [--only vulnerabilities|licences]`."""
    verb(session, "audit")


@nox.session
def vault(session: nox.Session) -> None:
    """Keep all locked packages as one OCI artifact, or have them from it: `-- push|pull REFERENCE|FOLDER`."""
    verb(session, "vault")


@nox.session
def notes(session: nox.Session) -> None:
    """Print the notes of a release, made from this repository: `-- [--since REVISION]`; or `-- --last`, its name."""
    verb(session, "notes")


@nox.session
def sbom(session: nox.Session) -> None:
    """Write what is in the images, as CycloneDX and SPDX: `-- [NAME ...]`; in dist/sbom/."""
    verb(session, "sbom")


@nox.session
def gather(session: nox.Session) -> None:
    """Put images of single platforms, which other machines have built, together in dist/: `-- FOLDER [NAME ...]`."""
    verb(session, "gather")


@nox.session
def release(session: nox.Session) -> None:
    """Publish the images that were verified, scanned and tested: `-- --registry REPOSITORY [--dry-run] [NAME ...]`."""
    verb(session, "release")


@nox.session
def engine(session: nox.Session) -> None:
    """Look after the embedded engine: `-- status|stop|remove`."""
    verb(session, "engine")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, and write docs/benchmarks.md, load.md and sizes.md: `-- [sizes|builds|starts|load ...]`."""
    run(session, "python", "-m", "tests.bench", *session.posargs)


@nox.session
def requirements(session: nox.Session) -> None:
    """Resolve pyproject.toml into requirements.txt again: every package with its hashes, no index address."""
    run(
        session, "uv", "pip", "compile", "pyproject.toml", "--group", "dev", "--upgrade", "--universal",
        "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header",
        "--quiet", "--output-file", "requirements.txt",
    )  # fmt: skip


@nox.session(name="format")
def format_(session: nox.Session) -> None:
    """Format the Python code."""
    run(session, "ruff", "check", "--fix")
    run(session, "ruff", "format")
