from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import fetch, mirrors, resolve, variants
from scripts.archives import debian, signatures
from scripts.archives.debian import Index
from scripts.archives.packages import Package, Relation
from scripts.errors import FetchError, LockError
from tests.unit.signed import SUITE, stanza


def index(*stanzas: str) -> Index:
    return Index([(SUITE, "\n".join(stanzas).encode())])


def names(found: Iterable[Package]) -> list[str]:
    return [str(package) for package in found]


@pytest.mark.parametrize(
    ("stanzas", "wanted", "expected"),
    [
        ([stanza("a", Depends="b"), stanza("b")], ["a"], ["a 1", "b 1"]),
        ([stanza("a", Depends="b"), stanza("b", "1"), stanza("b", "2~"), stanza("b", "1.9")], ["a"], ["a 1", "b 2~"]),
        ([stanza("a", Depends="b (<< 2)"), stanza("b", "1"), stanza("b", "2")], ["a"], ["a 1", "b 1"]),
        ([stanza("a", Pre_Depends="b"), stanza("b", Depends="a")], ["a"], ["a 1", "b 1"]),
        ([stanza("a", Depends="b | c"), stanza("b"), stanza("c")], ["a"], ["a 1", "b 1"]),
        ([stanza("a", Depends="missing | c"), stanza("c")], ["a"], ["a 1", "c 1"]),
        ([stanza("a", Depends="b | c"), stanza("b"), stanza("c")], ["a", "c"], ["a 1", "c 1"]),
        ([stanza("a", Depends="virtual"), stanza("z", Provides="virtual"), stanza("b", Provides="virtual")], ["a"],
         ["a 1", "b 1"]),
        ([stanza("a", Depends="virtual"), stanza("z", Provides="virtual", Priority="required"),
          stanza("b", Provides="virtual", Priority="optional")], ["a"], ["a 1", "z 1"]),
        ([stanza("a", Depends="virtual (>= 2)"), stanza("b", Provides="virtual (= 1)"),
          stanza("c", Provides="virtual (= 3)")], ["a"], ["a 1", "c 1"]),
        ([stanza("a", Depends="b, c"), stanza("b", "2", Depends="c (<< 2)"), stanza("b", "1"), stanza("c", "2"),
          stanza("c", "1")], ["a"], ["a 1", "b 2", "c 1"]),
        ([stanza("a", Depends="b (= 1), c"), stanza("b", "1"), stanza("b", "2"), stanza("c", "2", Depends="b (= 2)"),
          stanza("c", "1", Depends="b")], ["a"], ["a 1", "b 1", "c 1"]),
    ],
    ids=["plain", "highest version", "bounded", "circle", "first alternative", "other alternative", "named settles",
         "virtual by name", "virtual by priority", "versioned virtual", "older dependency", "backtracks"],
)  # fmt: skip
def test_resolution(stanzas: list[str], wanted: list[str], expected: list[str]) -> None:
    assert names(resolve.resolve(index(*stanzas), wanted)) == expected


def test_an_excluded_package_counts_as_present_with_all_it_provides() -> None:
    found = index(stanza("a", Depends="b, virtual, c | d"), stanza("b", Provides="virtual"), stanza("c"), stanza("d"))
    present = resolve.fulfilled(found, ["b", "d"])
    assert present == {"b", "d", "virtual"}
    assert names(resolve.resolve(found, ["a"], present)) == ["a 1"]


def test_a_dependency_on_an_excluded_package_is_not_followed_but_others_of_its_own_are() -> None:
    found = index(
        stanza("a", Depends="b (>= 9), c, e | f"), stanza("b", Depends="d"), stanza("c", Depends="d"), stanza("d"),
        stanza("e"), stanza("f"),
    )  # fmt: skip
    present = resolve.fulfilled(found, ["b", "f", "nowhere"])
    assert names(resolve.resolve(found, ["a"], present)) == ["a 1", "c 1", "d 1"]


@pytest.mark.parametrize(
    ("stanzas", "wanted", "expected"),
    [
        pytest.param(
            [stanza("a", Depends="b"), stanza("b"), stanza("c", Provides="b")], ["a"], ["a 1", "b 1"],
            id="a real package that another provides as well",
        ),
        pytest.param(
            [stanza("b"), stanza("c", Provides="b")], ["b"], ["b 1"],
            id="the same, named by the variant",
        ),
        pytest.param(
            [stanza("a", Depends="v (= 3)"), stanza("c", Provides="v (= 3)"), stanza("d", Provides="v (= 2)")],
            ["a"], ["a 1", "c 1"],
            id="exactly this version of something provided",
        ),
        pytest.param(
            [stanza("a", Depends="v"), stanza("v", Provides="v")], ["a"], ["a 1", "v 1"], id="provides its own name"
        ),
        pytest.param(
            [stanza("a", Depends="v, b (<< 2)"), stanza("b", "2", Provides="v"), stanza("b", "1", Provides="v")],
            ["a"], ["a 1", "b 1"],
            id="an older version provides it too",
        ),
        pytest.param(
            [stanza("a", "2", Depends="missing"), stanza("a", "1")], ["a"], ["a 1"], id="newest cannot be had"
        ),
        pytest.param(
            [stanza("a", Depends="b (>= 2) | c"), stanza("b", "1"), stanza("c")], ["a"], ["a 1", "c 1"],
            id="first alternative is too old",
        ),
        pytest.param(
            [stanza("a", Depends="b, b | c"), stanza("b"), stanza("c")], ["a"], ["a 1", "b 1"],
            id="alternative needed anyway",
        ),
        pytest.param([stanza("a", Depends="a")], ["a"], ["a 1"], id="needs itself"),
        pytest.param([stanza("a")], [], [], id="nothing wanted"),
        pytest.param([stanza("a", Recommends="b", Suggests="b"), stanza("b")], ["a"], ["a 1"], id="recommendations"),
    ],
)  # fmt: skip
def test_resolution_of_rarer_cases(stanzas: list[str], wanted: list[str], expected: list[str]) -> None:
    assert names(resolve.resolve(index(*stanzas), wanted)) == expected


def test_a_search_without_end_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "_ROUNDS", 3)
    chain = [stanza(f"p{number}", Depends=f"p{number + 1}") for number in range(8)]
    with pytest.raises(LockError):
        resolve.resolve(index(*chain, stanza("p8")), ["p0"])


def test_the_impossible_is_explained() -> None:
    stanzas = [stanza("a", Depends="c (>= 2)"), stanza("b", Depends="c (<< 2)"), stanza("c", "1"), stanza("c", "2")]
    with pytest.raises(LockError) as caught:
        resolve.resolve(index(*stanzas), ["a", "b"])
    assert "b 1 needs c (<< 2); there is: c 2 (trixie), c 1 (trixie)" in str(caught.value)


def test_a_missing_dependency_is_explained() -> None:
    with pytest.raises(LockError, match=r"a 1 needs nothing; there is: no such package"):
        resolve.resolve(index(stanza("a", Depends="nothing")), ["a"])


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ({"Conflicts": "b"}, {}, True),
        ({"Breaks": "b (<< 2)"}, {}, True),
        ({"Breaks": "b (<< 1)"}, {}, False),
        ({"Conflicts": "virtual"}, {"Provides": "virtual"}, True),
        ({"Conflicts": "virtual (<< 9)"}, {"Provides": "virtual"}, False),
        ({"Conflicts": "virtual", "Provides": "virtual"}, {}, False),
    ],
)
def test_conflicts(first: dict[str, str], second: dict[str, str], clash: bool) -> None:
    found = index(stanza("a", **first), stanza("b", **second))
    if clash:
        with pytest.raises(LockError, match="exclude each other"):
            resolve.resolve(found, ["a", "b"])
    else:
        assert len(resolve.resolve(found, ["a", "b"])) == 2


@st.composite
def archives(draw: st.DrawFn) -> list[str]:
    """Small archives: several versions, alternatives, versioned and virtual packages, wishes that nothing fulfils."""
    count = draw(st.integers(2, 6))
    one = st.builds(
        lambda number, operator: f"p{number}{operator}",
        st.integers(0, count),  # the last one does not exist
        st.sampled_from(["", "", " (>= 2)", " (<< 2)"]),
    ) | st.sampled_from(["virtual", "virtual (>= 2)"])
    group = st.lists(one, min_size=1, max_size=2).map(" | ".join)
    stanzas = []
    for number in range(count):
        for version in draw(st.sampled_from([["1"], ["2"], ["1", "2"]])):
            fields = {"Provides": draw(st.sampled_from(["", "", "virtual", "virtual (= 1)", "virtual (= 2)"]))}
            fields["Depends"] = ", ".join(draw(st.lists(group, max_size=2)))
            stanzas.append(stanza(f"p{number}", version, **{key: value for key, value in fields.items() if value}))
    return stanzas


def outcome(stanzas: list[str], wanted: list[str]) -> tuple[str, tuple[Package, ...]]:
    """What comes out: an error or packages."""
    try:
        return "", resolve.resolve(index(*stanzas), wanted)
    except LockError as error:
        return str(error), ()


@given(stanzas=archives(), seed=st.integers())
def test_results_are_complete_and_do_not_depend_on_order(stanzas: list[str], seed: int) -> None:
    error, found = outcome(stanzas, ["p0"])
    if not error:
        assert [package.name for package in found if package.name == "p0"] == ["p0"]
        assert len({package.name for package in found}) == len(found), "one version of each"
    for package in found:
        assert all(any(fulfils(other, wish) for wish in group for other in found) for group in package.depends)
    shuffled = stanzas.copy()
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - not for secrets
    assert outcome(shuffled, ["p0"]) == (error, found)


def fulfils(package: Package, wish: Relation) -> bool:
    """Policy 7.1 and 7.5, in other words than the resolver's."""
    if package.name == wish.name and wish.admits(package.version):
        return True
    offers = [offer for offer in package.provides if offer.name == wish.name]
    return any(not wish.operator or (offer.version != "" and wish.admits(offer.version)) for offer in offers)


ORACLE = {
    "prosody": "trixie-backports",
    "prosody-modules": "trixie-backports",
}


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt, the oracle, is not on this machine")
def test_apt_chooses_the_same_packages(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages that the debian variant names, with nothing excluded, against apt on the same archive, today."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    now = datetime.now(UTC)
    variant = variants.load("debian")
    archives_ = ("debian", "debian-security")
    sources = {archive: mirrors.mirrors(archive, debian.instant(now))[0].url for archive in archives_}
    if any(url.startswith(mirrors.SNAPSHOT) for url in sources.values()):
        pytest.skip("this machine names no mirror of Debian to compare with")
    try:
        releases = [debian.release(suite, now) for suite in variant.suites]
    except FetchError as error:
        pytest.skip(f"no mirror of Debian can be reached: {error}")
    items = [item for found in releases for item in debian.index_items(found, architecture)]
    fetch.fetch(items, debian.instant(now), label="package indexes")
    index_ = Index.of(releases, architecture)
    ours = {(package.name, package.version) for package in resolve.resolve(index_, variant.packages)}

    signed = f"[signed-by={signatures.DEBIAN_KEYRING}]"
    lines = [f"deb {signed} {sources[suite.archive]} {suite.suite} main" for suite in variant.suites]
    for folder in ("lists/partial", "cache/archives/partial", "preferences.d"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "sources.list").write_text("\n".join(lines) + "\n")
    (tmp_path / "status").touch()
    (tmp_path / "preferences").write_text(
        "".join(f"Package: {name}\nPin: release n={suite}\nPin-Priority: 990\n\n" for name, suite in ORACLE.items())
    )
    options = {
        "Dir::Etc::sourcelist": tmp_path / "sources.list", "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": tmp_path / "preferences", "Dir::Etc::preferencesparts": tmp_path / "preferences.d",
        "Dir::State::lists": tmp_path / "lists", "Dir::State::status": tmp_path / "status",
        "Dir::Cache": tmp_path / "cache", "APT::Architecture": architecture, "APT::Architectures::": architecture,
        "APT::Sandbox::User": "root", "Acquire::Languages": "none", "Debug::NoLocking": "1",
    }  # fmt: skip
    arguments = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    # apt reads the machine's configuration before its options; a copy without it is told by APT_CONFIG.
    environment = os.environ | {"APT_CONFIG": os.devnull, "LC_ALL": "C"}
    subprocess.run(["apt-get", *arguments, "-qq", "update"], env=environment, check=True, capture_output=True)
    done = subprocess.run(
        ["apt-get", *arguments, "--simulate", "--no-install-recommends", "install", *variant.packages],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    theirs = set(re.findall(r"^Inst (\S+?)(?::\S+)? \((\S+) ", done.stdout, re.MULTILINE))
    assert ours == theirs
