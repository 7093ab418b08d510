from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts import mirrors

INSTANT = "20261125T000000Z"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*map(mirrors.variable, mirrors.ARCHIVES), "PROSODY_VAULT"):
        monkeypatch.delenv(name, raising=False)


def machine(folder: Path, **files: str) -> Path:
    """Configuration of apt: `main` is sources.list, others (`a_list`, `b_sources`) are in sources.list.d."""
    (folder / "sources.list.d").mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / "sources.list" if name == "main" else folder / "sources.list.d" / name.replace("_", ".")
        path.write_text(text)
    return folder


def urls(archive: str, folder: Path) -> list[str]:
    """All mirrors but the last one, which is the snapshot."""
    *found, last = mirrors.mirrors(archive, INSTANT, folder)
    assert last == mirrors.Mirror(f"{mirrors.SNAPSHOT}/{archive}/{INSTANT}", connections=2)
    return [mirror.url for mirror in found]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deb http://a.example/debian trixie main", ["http://a.example/debian"]),
        ("deb https://a.example/debian/ trixie main contrib", ["https://a.example/debian"]),
        ("  deb\thttp://a.example/debian\ttrixie\tmain", ["http://a.example/debian"]),
        ("deb [arch=amd64] http://a.example/debian trixie main", ["http://a.example/debian"]),
        ("deb [ arch=amd64,arm64 signed-by=/k.gpg ] http://a.example/debian trixie main", ["http://a.example/debian"]),
        ("deb http://a.example/debian trixie main # with a remark", ["http://a.example/debian"]),
        ("deb http://user:word@a.example:8080/debian trixie main", ["http://user:word@a.example:8080/debian"]),
        ("deb http://a.example/deep/er/debian trixie main", ["http://a.example/deep/er/debian"]),
        ("deb http://a.example/debian ./", ["http://a.example/debian"]),
        ("# deb http://a.example/debian trixie main", []),
        ("#deb http://a.example/debian trixie main", []),
        ("deb-src http://a.example/debian trixie main", []),
        ("deb cdrom:[Debian GNU/Linux 13]/ trixie main", []),
        ("deb file:/srv/debian trixie main", []),
        ("deb mirror+http://a.example/debian trixie main", []),
        ("deb http://a.example/ubuntu noble main", []),
        ("deb http://a.example/not-debian trixie main", []),
        ("deb http://a.example/debian", []),
        ("deb", []),
        ("\x00\x01 nonsense", []),
    ],
)
def test_one_line_sources(tmp_path: Path, line: str, expected: list[str]) -> None:
    assert urls("debian", machine(tmp_path, main=f"{line}\n")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "Types: deb\nURIs: http://a.example/debian\nSuites: trixie\n", ["http://a.example/debian"], id="plain"
        ),
        pytest.param(
            "Types: deb\nURIs: http://a.example/debian/ https://b.example/debian\nSuites: trixie\n",
            ["http://a.example/debian", "https://b.example/debian"],
            id="several",
        ),
        pytest.param(
            "Types: deb\nURIs:\n http://a.example/debian\n http://b.example/debian\nSuites: trixie\n",
            ["http://a.example/debian", "http://b.example/debian"],
            id="several on lines of their own",
        ),
        pytest.param(
            "# Remark.\nTypes: deb deb-src\n# Another.\nuris: http://a.example/debian\nSuites: trixie\n"
            "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n\n\n"
            "Types: deb\nURIs: http://b.example/debian\nSuites: trixie\n",
            ["http://a.example/debian", "http://b.example/debian"],
            id="remarks, an embedded key, two paragraphs",
        ),
        pytest.param("Enabled: no\nTypes: deb\nURIs: http://a.example/debian\nSuites: trixie\n", [], id="disabled"),
        pytest.param("Types: deb\nenabled: FALSE\nURIs: http://a.example/debian\nSuites: t\n", [], id="not enabled"),
        pytest.param(
            "Enabled: yes\nTypes: deb\nURIs: http://a.example/debian\nSuites: trixie\n",
            ["http://a.example/debian"],
            id="enabled",
        ),
        pytest.param("Types: deb\nURIs: file:/srv/debian\nSuites: trixie\n", [], id="files"),
        pytest.param("Types: deb\nSuites: trixie\n", [], id="no address"),
        pytest.param("", [], id="empty"),
        pytest.param("nonsense\n\n: :\n", [], id="nonsense"),
    ],
)
def test_deb822_sources(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert urls("debian", machine(tmp_path, a_sources=text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Types: deb-src\nURIs: http://a.example/debian\nSuites: trixie\n", id="sources only"),
        pytest.param("Types: deb\nEnabled: off\nURIs: http://a.example/debian\nSuites: trixie\n", id="off"),
        pytest.param("Types: deb\nEnabled: 0\nURIs: http://a.example/debian\nSuites: trixie\n", id="0"),
    ],
)
def test_deb822_sources_that_apt_would_not_use(tmp_path: Path, text: str) -> None:
    assert urls("debian", machine(tmp_path, a_sources=text)) == []


def test_places_are_tried_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is named, those of the machine in apt's order, those beside them; none twice."""
    folder = machine(
        tmp_path,
        main="deb http://one.example/debian trixie main\n"
        "deb http://two.example/debian-security trixie-security main\n"
        "deb http://one.example/debian trixie-updates main\n",
        z_list="deb http://three.example/debian trixie main\n",
        b_list="deb http://four.example/debian trixie main\n",
        a_sources="Types: deb\nURIs: http://five.example/debian\nSuites: trixie\n",
        ignored_save="deb http://six.example/debian trixie main\n",
    )
    monkeypatch.setenv("DEBIAN_MIRROR", "http://named.example/debian/")
    own = [f"http://{name}.example/debian" for name in ("one", "four", "three", "five")]
    assert urls("debian", folder) == ["http://named.example/debian", *own, "http://two.example/debian"]
    # A host that has one archive may have the other beside it.
    assert urls("debian-security", folder) == [
        f"http://{name}.example/debian-security" for name in ("two", "one", "four", "three", "five")
    ]


def test_the_registry_of_npm_is_that_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    public = mirrors.NPM
    (tmp_path / ".npmrc").write_text(
        "fund=false\n; a comment\nregistry=http://user.example/npm/\n//x/:_authToken=a%b\n"
    )
    assert [str(mirror) for mirror in mirrors.mirrors("npm", "")] == ["http://user.example/npm", public]
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://shell.example")
    assert [str(mirror) for mirror in mirrors.mirrors("npm", "")] == ["http://shell.example", public]
    monkeypatch.setenv("NPM_MIRROR", "http://named.example/")
    assert str(mirrors.mirrors("npm", "")[0]) == "http://named.example"
    (tmp_path / ".npmrc").write_bytes(b"\xff[ not = really\n")
    assert str(mirrors.mirrors("npm", "")[1]) == "http://shell.example"


def test_an_address_has_no_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_MIRROR", "http://named.example/")
    assert [str(mirror) for mirror in mirrors.mirrors("https://x.example", "")] == ["https://x.example"]


def test_a_variable_is_for_one_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBIAN_SECURITY_MIRROR", "http://named.example/other-name")
    assert urls("debian", tmp_path) == []
    assert urls("debian-security", tmp_path) == ["http://named.example/other-name"]


@pytest.mark.parametrize("there", [True, False], ids=["empty folder", "no folder"])
def test_a_machine_without_apt_has_the_snapshot(tmp_path: Path, there: bool) -> None:
    assert urls("debian", tmp_path if there else tmp_path / "nothing") == []


def test_files_that_are_not_text_do_no_harm(tmp_path: Path) -> None:
    folder = machine(tmp_path, main="deb http://a.example/debian trixie main\n")
    (folder / "sources.list.d" / "bad.list").write_bytes(b"\xff\xfe deb\n")
    (folder / "sources.list.d" / "bad.sources").write_bytes(b"\xff\xfe: \xff\n")
    assert urls("debian", folder) == ["http://a.example/debian"]


def test_the_snapshot_is_asked_last_and_gently(tmp_path: Path) -> None:
    folder = machine(tmp_path, main="deb http://a.example/debian trixie main\n")
    first, last = mirrors.mirrors("debian", INSTANT, folder)
    assert last.connections < first.connections
    assert str(last) == mirrors.public_url("debian", INSTANT)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", []), ("/a", ["/a"]), (f"/a{os.pathsep}b/c", ["/a", "b/c"]), (f"{os.pathsep}/a{os.pathsep}", ["/a"])],
    ids=["none", "one", "two", "empty parts"],
)
def test_vaults_are_separated_like_path(monkeypatch: pytest.MonkeyPatch, value: str, expected: list[str]) -> None:
    monkeypatch.setenv("PROSODY_VAULT", value)
    assert [str(vault) for vault in mirrors.vaults()] == expected


def test_no_variable_is_no_vault() -> None:
    assert mirrors.vaults() == ()


@pytest.mark.parametrize(
    ("archive", "name"), [("debian", "DEBIAN_MIRROR"), ("debian-security", "DEBIAN_SECURITY_MIRROR")]
)
def test_variables_are_named_after_archives(archive: str, name: str) -> None:
    assert mirrors.variable(archive) == name
