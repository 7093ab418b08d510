"""What the repository says about itself is true."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts import mirrors, paths, variants
from scripts.catalogue import page

README = (paths.ROOT / "README.md").read_text()


def tracked() -> list[Path]:
    if shutil.which("git") is None or not (paths.ROOT / ".git").exists():
        pytest.skip("not a git checkout, or no git to ask")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=paths.ROOT, capture_output=True, check=True)
    return [paths.ROOT / name for name in done.stdout.decode().split("\0") if name and (paths.ROOT / name).is_file()]


def test_no_file_names_a_package_registry_of_this_machine() -> None:
    hosts = {urlsplit(url).netloc for url in mirrors._configured(Path("/etc/apt"))}
    configured = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    hosts |= {urlsplit(url).netloc for url in re.findall(r"https?://[^'\"\s]+", configured)}
    for path in tracked():
        text = path.read_bytes().decode(errors="replace")
        assert not [host for host in hosts if host and host in text], path


def test_only_the_variant_for_developers_has_known_secrets() -> None:
    found = {
        name
        for name in variants.names()
        for variable in variants.load(name).image.environment
        if re.search(r"SECRET|PASSWORD|ACCOUNTS", variable)
    }
    assert found == {"dev"}


def test_requirements_are_pinned_by_hash() -> None:
    text = (paths.ROOT / "requirements.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines
    assert all("==" in line and "--hash=sha256:" in line for line in lines)
    assert "://" not in text


def test_the_documentation_of_tests_names_every_module() -> None:
    modules = {path.stem for path in (paths.ROOT / "tests" / "integration").glob("test_*.py")}
    named = set(re.findall(r"`(test_\w+)`", (paths.ROOT / "docs" / "testing.md").read_text()))
    assert named == modules


def test_the_readme_names_every_session() -> None:
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "nox", "--list"],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    sessions = set(re.findall(r"^[*-] ([a-z]+) ->", done.stdout, re.MULTILINE))
    assert {"lint", "build", "integration"} <= sessions
    assert sessions == set(re.findall(r"^\| `([a-z]+)[ `]", README, re.MULTILINE))


def anchors(path: Path) -> set[str]:
    """What can be linked to in a page: its headings, by GitHub's rule, and what has a name of its own."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = [page.slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    assert len(headings) == len(set(headings)), f"{path.name}: GitHub would number one of two headings"
    return {*headings, *re.findall(r'<a id="([^"]+)">', text)}


def test_links_in_the_documentation_lead_somewhere() -> None:
    count = 0
    for path in [*paths.ROOT.glob("*.md"), *(paths.ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
            name, _, anchor = link.partition("#")
            target = (path.parent / name) if name else path
            assert target.exists(), f"{path.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{path.name}: {link}"
            count += 1
    assert count > 100


def test_every_variable_of_the_image_is_documented() -> None:
    table = paths.IMAGES / "rootfs/usr/local/lib/prosody-container/container/catalogue.lua"
    entries = re.findall(r'^\t\{ name = "([^"]+)"(?:, aliases = \{([^}]*)\})?', table.read_text(), re.MULTILINE)
    names = {name: re.findall(r'"([^"]+)"', aliases) for name, aliases in entries}
    assert len(names) > 300
    rows = re.findall(r'^\| <a id="[^"]+"></a>(\S+) \|', (paths.ROOT / "docs/environment.md").read_text(), re.MULTILINE)
    assert [re.findall("`([^`]+)`", row) for row in rows] == [[name, *aliases] for name, aliases in names.items()]
