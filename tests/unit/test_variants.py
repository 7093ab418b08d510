from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import catalogue, variants
from scripts.errors import UsageError, VariantError
from scripts.paths import ROOT, TOOLS, VARIANTS
from scripts.platforms import PLATFORMS
from scripts.variants import Health, Suite, User
from tests.unit.conftest import Checkout

GOOD = """\
description: A variant for tests.
distribution: debian
suites:
  - suite: trixie
platforms: [linux/amd64]
layers:
  base: [libc6, tini]
"""

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Write:
    """Function that writes variant files (name=text) and returns their folder."""

    def write(**texts: str) -> Path:
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path

    return write


def refusal(name: str, folder: Path) -> list[str]:
    """The lines of the error, without the folder."""
    with pytest.raises(VariantError) as caught:
        variants.load(name, folder)
    return [line.strip().removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "",
            [f"bad.yaml:1:1: missing: {key} (neither here nor in a parent)"
             for key in ("description", "distribution", "layers", "platforms", "suites")],
            id="empty",
        ),
        pytest.param(
            GOOD.replace("distribution: debian\n", ""),
            ["bad.yaml:1:1: missing: distribution (neither here nor in a parent)"],
            id="incomplete",
        ),
        pytest.param(
            GOOD + "  more: [dash, libc6]\n",
            ["bad.yaml:8:16: layers.more[1]: 'libc6' is in layer 'base' already"],
            id="package in two layers",
        ),
        pytest.param(
            GOOD + "exclude:\n  tini: not wanted\n",
            ["bad.yaml:7:17: layers.base[1]: 'tini' is also under `exclude`"],
            id="package also excluded",
        ),
        pytest.param(
            GOOD.replace("suite: trixie", "suite: trixie\n    packages: [tini, libc]"),
            [("bad.yaml:5:22: suites[0].packages[1]: 'libc' is in no layer, so nothing would come from here;"
             " did you mean 'libc6'?")],
            id="suite limited to a package of no layer",
        ),
        pytest.param(
            GOOD + "version: tinni\n",
            ["bad.yaml:8:1: version: 'tinni' is in no layer; did you mean 'tini'?"],
            id="version of a package of no layer",
        ),
        pytest.param(
            GOOD + "  more: [tini]\nversion: nothing-like-it\nexclude: {libc6: not wanted}\n",
            ["bad.yaml:7:10: layers.base[0]: 'libc6' is also under `exclude`",
             "bad.yaml:8:10: layers.more[0]: 'tini' is in layer 'base' already",
             "bad.yaml:9:1: version: 'nothing-like-it' is in no layer"],
            id="all at once",
        ),
        pytest.param(
            GOOD.replace("linux/amd64", "linux/amd46"),
            [(f"bad.yaml:5:13: platforms[0]: 'linux/amd46' is not known; allowed: {', '.join(PLATFORMS)};"
             " did you mean 'linux/amd64'?")],
            id="platform nobody has",
        ),
        pytest.param(
            GOOD.replace("linux/amd64", "linux/amd64, linux/arm/v6"),
            [("bad.yaml:5:26: platforms[1]: debian has no packages for linux/arm/v6; it has them for: linux/amd64,"
             " linux/arm64, linux/arm/v7, linux/arm/v5, linux/386, linux/riscv64, linux/ppc64le, linux/s390x")],
            id="platform that Debian lacks",
        ),
        pytest.param(
            GOOD.replace("debian", "alpine").replace("amd64", "arm/v5").replace(
                "trixie", "v3.24\n    archive: debian\n    components: [main, contrib]"
            ),
            ["bad.yaml:5:5: suites[0].archive: 'debian' is no archive of alpine; there are: alpine",
             "bad.yaml:6:24: suites[0].components[1]: 'contrib' is no component of alpine; there are: main, community",
             ("bad.yaml:7:13: platforms[0]: alpine has no packages for linux/arm/v5; it has them for: linux/amd64,"
             " linux/arm64, linux/arm/v7, linux/arm/v6, linux/386, linux/riscv64, linux/ppc64le, linux/s390x")],
            id="what Alpine lacks",
        ),
    ],
)  # fmt: skip
def test_a_variant_that_makes_no_sense_is_explained(folder: Write, text: str, expected: list[str]) -> None:
    title, *problems = refusal("bad", folder(bad=text))
    assert title == f"{len(expected)} problem{'s' if len(expected) > 1 else ''} in variant 'bad':"
    assert problems == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param({"one": "extends: one\n"}, "one.yaml:1:1: extends: extends itself: one -> one", id="itself"),
        pytest.param(
            {"one": "extends: two\n", "two": "\nextends: one\n"},
            "two.yaml:2:1: extends: extends itself: one -> two -> one",
            id="cycle of two",
        ),
        pytest.param(
            {"one": "extends: two\n", "two": "extends: three\n", "three": "extends: one\n"},
            "three.yaml:1:1: extends: extends itself: one -> two -> three -> one",
            id="cycle of three",
        ),
        pytest.param(
            {"one": "extends: two\n", "two": "extends: three\n", "three": "extends: two\n"},
            "three.yaml:1:1: extends: extends itself: one -> two -> three -> two",
            id="cycle above",
        ),
        pytest.param(
            {"one": "extends: tow\n", "two": GOOD, "other": GOOD},
            (
                "one.yaml:1:1: extends: there is no variant 'tow'; there are: other, two;"
                " did you mean 'two'?"
            ),
            id="missing parent",
        ),
        pytest.param(
            {"one": "extends: two\n", "two": GOOD + "x: 1\n"}, "two.yaml:8:1: x: unknown key; ", id="bad parent"
        ),
        pytest.param({"one": "extends: two\n", "two": "["}, "two.yaml:1:2: not valid YAML: ", id="parent is no YAML"),
        pytest.param(
            {"one": "extends: two\n", "two": "- list\n"}, "two.yaml:1:1: must be a mapping, ", id="parent is a list"
        ),
        pytest.param(
            {"one": "extends: two\nlayers: {base: null}\n", "two": GOOD},
            "one.yaml:1:1: missing: layers (neither here nor in a parent)",
            id="everything removed",
        ),
        pytest.param(
            {"one": "extends: two\nexclude: {tini: why not}\n", "two": GOOD},
            "two.yaml:7:17: layers.base[1]: 'tini' is also under `exclude`",
            id="child excludes what the parent names",
        ),
    ],
)  # fmt: skip
def test_bad_inheritance_is_explained(folder: Write, texts: dict[str, str], expected: str) -> None:
    _, problem = refusal("one", folder(**texts))
    assert problem.startswith(expected)


def test_the_problems_of_all_files_are_told_at_once(folder: Write) -> None:
    _, *problems = refusal("one", folder(one="extends: two\ncolour: blue\n", two=GOOD + "taste: sweet\n"))
    assert [problem.split(": ")[:2] for problem in problems] == [
        ["one.yaml:2:1", "colour"], ["two.yaml:8:1", "taste"],
    ]  # fmt: skip


def test_a_child_is_merged_over_its_parents(folder: Write) -> None:
    found = variants.load(
        "child",
        folder(
            grandparent=GOOD + "exclude: {dash: unused, mawk: unused}\n",
            parent="extends: grandparent\nlayers: {more: [adduser]}\nexclude: {mawk: null}\n",
            child="# Mine.\nextends: parent\nlayers:\n  base: null\n  tools: [mawk]\nplatforms: [linux/arm64]\n",
        ),
    )
    assert found.layers == {"more": ("adduser",), "tools": ("mawk",)}
    assert found.platforms == (PLATFORMS["linux/arm64"],)
    assert found.exclude == {"dash"}
    assert (found.name, found.description) == ("child", "A variant for tests.")
    places: dict[tuple[str | int, ...], str] = {
        ("layers", "tools", 0): "child.yaml:5:11", ("layers", "more", 0): "parent.yaml:2:17",
        ("suites", 0, "suite"): "grandparent.yaml:4:5", ("exclude", "dash"): "grandparent.yaml:8:11",
        ("platforms", 0): "child.yaml:6:13",
    }  # fmt: skip
    for pointer, place in places.items():
        assert str(found.document.position(*pointer)).endswith(f"/{place}")


@pytest.mark.parametrize("removed", ["version: null", "exclude: null", "image: null", "image: {health: null}"])
def test_null_removes_whatever_a_parent_has(folder: Write, removed: str) -> None:
    """As the schema's description of `extends` promises."""
    health = "health: {command: [x], interval: 1s, timeout: 1s, start-period: 1s, retries: 1}"
    parent = GOOD + f"version: tini\nexclude: {{dash: unused}}\nimage: {{{health}}}\n"
    found = variants.load("child", folder(parent=parent, child=f"extends: parent\n{removed}\n"))
    assert found != variants.load("parent", folder())


def test_a_child_may_take_less_than_the_suites_of_its_parent_offer(folder: Write) -> None:
    parent = GOOD.replace("suite: trixie", "{suite: trixie, packages: [tini]}")
    child = "extends: parent\nlayers: {base: null, top: [bash]}\n"
    assert list(variants.load("child", folder(parent=parent, child=child)).packages) == ["bash"]


def test_a_parent_may_be_in_a_folder_below(folder: Write) -> None:
    """There it is not a variant by itself, and may be incomplete."""
    where = folder(child="extends: shared/parent\n" + GOOD)
    (where / "shared").mkdir()
    (where / "shared" / "parent.yaml").write_text("version: tini\n")
    assert variants.load("child", where).version_package == "tini"
    assert variants.names(where) == ["child"]


def test_a_child_may_change_one_value_of_a_mapping(folder: Write) -> None:
    parent = GOOD + "image: {user: {name: prosody, id: 5222, home: /var/lib/prosody}}\n"
    found = variants.load("child", folder(parent=parent, child="extends: parent\nimage: {user: {id: 1000}}\n"))
    assert found.image.user == User("prosody", 1000, "/var/lib/prosody")


def test_what_a_file_does_not_say_has_a_default(folder: Write) -> None:
    found = variants.load("good", folder(good=GOOD))
    assert found.suites == (Suite("debian", "trixie", ("main",), None),)
    assert found.packages == {"libc6": "base", "tini": "base"}
    assert (found.exclude, found.version_package) == (frozenset(), None)
    image = found.image
    assert (image.user, image.health, image.entrypoint, image.ports, image.volumes) == (None, None, (), (), ())


def test_everything_that_a_file_says_is_in_the_variant(folder: Write) -> None:
    text = """\
version: tini
exclude: {dash: no shell}
image:
  user: {name: someone, id: 7, home: /home}
  directories: {/a: "1777"}
  links: {/b: a}
  remove: {/c/*: unused}
  icu: {"*.spp": profiles}
  environment: {NAME: value}
  defaults: {PROSODY_TLS_PROFILE: modern}
  entrypoint: [/usr/bin/tini, --]
  health: {command: [/x, y], interval: 30s, timeout: 5s, start-period: 1m, retries: 3}
  ports: {"5269": servers, "80": the web}
  volumes: [/d]
"""
    suites = "suite: trixie\n    archive: debian-security\n    components: [main, contrib]\n    packages: [tini]"
    found = variants.load("full", folder(full=GOOD.replace("suite: trixie", suites) + text))
    assert found.suites == (Suite("debian-security", "trixie", ("main", "contrib"), frozenset({"tini"})),)
    assert (found.version_package, found.exclude) == ("tini", frozenset({"dash"}))
    assert found.image == variants.Image(
        user=User("someone", 7, "/home"), directories={"/a": "1777"}, links={"/b": "a"}, remove=("/c/*",),
        icu=("*.spp",),
        files="",
        environment={"NAME": "value", "DEFAULT_PROSODY_TLS_PROFILE": "modern"}, entrypoint=("/usr/bin/tini", "--"),
        health=Health(("/x", "y"), "30s", "5s", "1m", 3), ports=(80, 5269), volumes=("/d",),
    )  # fmt: skip


def test_an_unknown_variant_is_suggested(folder: Write) -> None:
    with pytest.raises(UsageError, match="no variant 'debain'; there are: debian, other; did you mean 'debian'"):
        variants.load("debain", folder(debian=GOOD, other=GOOD))


@pytest.mark.parametrize(
    ("folder_", "name"),
    [pytest.param(folder, name, id=name) for folder in (VARIANTS, TOOLS) for name in variants.names(folder)],
)
def test_the_shipped_files_are_valid(folder_: Path, name: str) -> None:
    found = variants.load(name, folder_)
    assert found.name == name
    assert found.packages


@pytest.mark.parametrize("name", variants.names(VARIANTS))
def test_defaults_are_those_of_variables_that_the_image_has(name: str) -> None:
    known = {variable.name for variable in catalogue.load().variables if "<" not in variable.name}
    beginning = variants.DEFAULT_PREFIX
    environment = variants.load(name).image.environment
    defaults = {text.removeprefix(beginning) for text in environment if text.startswith(beginning)}
    assert defaults <= known


def test_the_defaults_of_hardened_are_documented() -> None:
    text = (ROOT / "docs/hardened.md").read_text()
    names = [name for name in variants.load("hardened").image.environment if name.startswith(variants.DEFAULT_PREFIX)]
    assert [name for name in names if f"`{name.removeprefix(variants.DEFAULT_PREFIX)}`" not in text] == []


@pytest.mark.parametrize("module", ["dockerfile", "relock", "build"])
def test_commands_refuse_a_broken_variant_without_traceback(checkout: Checkout, module: str) -> None:
    checkout.edit("variants/debian.yaml", "platforms:", "platfroms:")
    checkout.edit("variants/debian.yaml", "trixie-updates", "Trixie Updates")
    lines = (checkout.root / "variants/debian.yaml").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if "Trixie Updates" in text)
    done = checkout.run(module, "debian")
    assert done.returncode == VariantError.exit_status == 10
    assert "2 problems in variant 'debian':" in done.stderr
    assert f"\n  variants/debian.yaml:{line}:5: suites[1].suite: 'Trixie Updates' does not match" in done.stderr
    assert "did you mean 'platforms'?" in done.stderr
    assert "Traceback" not in done.stderr
