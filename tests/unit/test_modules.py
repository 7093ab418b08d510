from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import modules, paths, toolset
from scripts.errors import CatalogueError
from scripts.modules import Module

ENTRY = """\
carbons:
  summary: Copies messages.
  origin: prosody
  scope: host
"""
SCHEMA = json.loads((paths.SCHEMA / "modules.schema.json").read_text())
MODULE_SCHEMA = SCHEMA["$defs"]["module"]
PLAIN = Module("carbons", "Copies messages.", "prosody", "host")
# Everything that ends or changes a string of Lua, and a digit after each way to write a byte as a number.
HOSTILE = '"]]..os.exit(1)--\\"\\\\n\n\r\t\0\0017\x7f1\x859\u2028\\065{}%s\''


def refusal(folder: Path, text: str) -> list[str]:
    """The lines of the error, without the folder."""
    path = folder / "modules.yaml"
    path.write_text(text)
    with pytest.raises(CatalogueError) as caught:
        modules.load(path)
    return [line.strip().removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


def run_lua(program: str) -> bytes:
    """What the locked Lua 5.4 prints when it runs `program`."""
    done = subprocess.run(
        [*toolset.unpack("lua").command("usr/bin/lua5.4"), "-"],
        input=program.encode("utf-8", "surrogatepass"),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def read_table(text: str) -> list[dict[str, str]]:
    """The table that a generated file returns, as Lua itself sees it without any global."""
    hexadecimal = run_lua(
        f"local source = {modules.lua_string(text)}\n"
        'for number, entry in ipairs(assert(load(source, "=table", "t", {}))()) do\n'
        "  for key, value in pairs(entry) do\n"
        '    local function hex(text) return (text:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end\n'
        "    print(number, hex(key), hex(value))\n"
        "  end\n"
        "end\n"
    )
    found: dict[int, dict[str, str]] = {}
    for line in hexadecimal.decode().splitlines():
        number, key, value = line.split("\t")
        found.setdefault(int(number), {})[bytes.fromhex(key).decode()] = bytes.fromhex(value).decode()
    return [found[number] for number in sorted(found)]


def test_the_shipped_catalogue_is_valid_and_sorted() -> None:
    found = modules.load()
    assert len(found) > 200
    assert [module.name for module in found] == sorted({module.name for module in found})


def test_all_that_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "modules.yaml"
    path.write_text(
        "bob:\n"
        "  summary: Caches small images.\n"
        "  origin: prosody-modules\n"
        "  scope: muc\n"
        "  broken: Needs another module.\n"
        "  obsolete: nothing\n"
        "  caution: It waits.\n"
        "  service: a service\n"
        "  options: [one, two]\n" + ENTRY
    )
    assert modules.load(path) == (
        Module(
            name="bob",
            summary="Caches small images.",
            origin="prosody-modules",
            scope="muc",
            broken="Needs another module.",
            obsolete="nothing",
            caution="It waits.",
            service="a service",
            options=("one", "two"),
        ),
        PLAIN,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("carbons: [\n", ["modules.yaml:2:1: not valid YAML"], id="not YAML"),
        pytest.param(ENTRY + ENTRY, ["modules.yaml:5:1: carbons: this key stands here twice"], id="twice"),
        pytest.param(
            ENTRY.replace("summary", "sumary"),
            ["modules.yaml:1:1: carbons: missing: summary", "modules.yaml:2:3: carbons.sumary: unknown key; allowed: "],
            id="unknown key",
        ),
        pytest.param(
            ENTRY.replace("origin: prosody", "origin: prosdy"),
            ["modules.yaml:3:3: carbons.origin: 'prosdy' is not known; allowed: prosody, prosody-modules, image"],
            id="unknown origin",
        ),
        pytest.param(
            ENTRY.replace("host", "room"),
            ["modules.yaml:4:3: carbons.scope: 'room' is not known; allowed: host, component, muc, global"],
            id="unknown scope",
        ),
        pytest.param(
            ENTRY.replace("Copies messages.", "x" * 101),
            ["modules.yaml:2:3: carbons.summary: 'xxx"],
            id="too long",
        ),
        pytest.param(
            ENTRY.replace("Copies messages.", '"two\\nlines"'),
            ["modules.yaml:2:3: carbons.summary: 'two\\nlines' does not match"],
            id="two lines",
        ),
        pytest.param(
            ENTRY.replace("carbons", "mod-carbons"),
            ["modules.yaml:1:1: mod-carbons: 'mod-carbons' does not match"],
            id="wrong name",
        ),
        pytest.param(
            ENTRY + ENTRY.replace("carbons", "bob"),
            ["modules.yaml:5:1: bob: must stand before 'carbons': the names are sorted"],
            id="not sorted",
        ),
    ],
)
def test_every_problem_is_told_with_its_place(tmp_path: Path, text: str, expected: list[str]) -> None:
    head, *lines = refusal(tmp_path, text)
    assert head == f"{len(expected)} problem{'s'[: len(expected) > 1]} in the catalogue of modules:"
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)


def test_a_missing_file_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"There is no catalogue of modules at .*none\.yaml"):
        modules.load(tmp_path / "none.yaml")


def test_lua_reads_the_catalogue_as_it_was_written() -> None:
    found = modules.load()
    keys = ("name", "summary", "origin", "scope", "broken", "obsolete")
    expected = [{key: getattr(each, key) for key in keys if getattr(each, key) is not None} for each in found]
    assert read_table(modules.lua_table(found)) == expected


def test_no_text_can_leave_its_string() -> None:
    broken = replace(PLAIN, summary=HOSTILE, broken=HOSTILE * 2)
    assert read_table(modules.lua_table([broken, PLAIN])) == [
        {"name": "carbons", "summary": HOSTILE, "origin": "prosody", "scope": "host", "broken": HOSTILE * 2},
        {"name": "carbons", "summary": "Copies messages.", "origin": "prosody", "scope": "host"},
    ]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=50))
def test_a_string_stands_on_one_line_and_shows_no_control_character(texts: list[str]) -> None:
    for text in texts:
        written = modules.lua_string(text)
        assert written.isprintable()
        assert written[0] == written[-1] == '"'


def test_lua_reads_every_character_back() -> None:
    text = "".join(chr(code) + "7" for code in range(0x250)) + "\u2028\ufeff\U0001f600"
    assert run_lua(f"io.write({modules.lua_string(text)})").decode() == text


def test_the_generated_files_are_named_and_say_what_made_them() -> None:
    found = modules.outputs()
    assert {path.relative_to(paths.ROOT).as_posix() for path in found} == {
        "docs/modules.md",
        "images/rootfs/usr/local/lib/prosody-container/container/modules.lua",
    }
    for text in found.values():
        assert "Do not edit" in text.partition("\n\n")[0]
        assert text.endswith("\n")


@pytest.mark.parametrize("path", modules.outputs())
def test_the_committed_files_are_what_the_catalogue_gives(path: Path) -> None:
    assert path.read_text() == modules.outputs()[path]


def test_the_page_has_a_row_for_every_module_under_its_origin() -> None:
    found = modules.load()
    text = modules.page(found)
    for title, origin in (
        ("Part of Prosody", "prosody"),
        ("Community modules, from Debian's package prosody-modules", "prosody-modules"),
        ("Made for this image", "image"),
    ):
        section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
        rows = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert rows == [module.name for module in found if module.origin == origin]
    trouble = text.partition("## Broken and obsolete\n")[2]
    for module in found:
        for reason in filter(None, (module.broken, module.obsolete)):
            assert f"| `{module.name}` | {reason} |" in trouble


@pytest.mark.parametrize(
    ("module", "state"),
    [
        (PLAIN, "loads"),
        (replace(PLAIN, broken="Because."), "broken"),
        (replace(PLAIN, broken="Because.", obsolete="mam", options=("one",)), "broken, obsolete"),
        (replace(PLAIN, options=("one", "two")), "needs `one` and `two`"),
        (replace(PLAIN, service="a lamp", obsolete="mam"), "obsolete, needs a lamp"),
        (replace(PLAIN, caution="It waits."), "loads. It waits."),
    ],
)
def test_the_page_says_in_what_state_a_module_is(module: Module, state: str) -> None:
    assert f"| `carbons` | Copies messages. | virtual host | {state} |\n" in modules.page([module])


def test_a_cell_of_the_page_cannot_end_early() -> None:
    assert r"| a \| b |" in modules.page([replace(PLAIN, summary="a | b")])


def test_a_page_without_trouble_has_no_section_for_it() -> None:
    assert "Broken and obsolete" not in modules.page([PLAIN])


def test_the_schema_is_valid_and_explains_every_key() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for name, value in MODULE_SCHEMA["properties"].items():
        assert {"title", "description", "examples"} <= value.keys(), name


def test_the_examples_in_the_schema_are_valid() -> None:
    for example in SCHEMA["examples"]:
        jsonschema.Draft202012Validator(SCHEMA).validate(example)
    for name, value in MODULE_SCHEMA["properties"].items():
        for example in value["examples"]:
            entry: dict[str, Any] = {"summary": "Copies messages.", "origin": "prosody", "scope": "host"}
            jsonschema.Draft202012Validator(SCHEMA).validate({"carbons": entry | {name: example}})
