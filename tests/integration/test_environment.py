"""What each environment variable does, as Prosody's own configuration manager tells it.

environment.yaml says what is expected, read_back.lua asks: one container of the real image goes through all cases, each
with an environment of its own.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from scripts import catalogue
from scripts.catalogue import Variable
from tests.integration.containers import CONFINED, LoadedImage, Outcome
from tests.integration.servers import DOMAIN, Server

_HERE = Path(__file__).parent
_GLOBAL = "*"
ROOMS = f"conference.{DOMAIN}"
UPLOADS = f"upload.{DOMAIN}"
# These names of other images do a little more, or less, than the own one: the table has cases of their own for them.
_DIFFERENT_ALIASES = {"PROSODY_DB_DRIVER"}
# libc reads this one out of the environment, before anybody could look into a file or for a host.
_NEVER_FROM_A_FILE = {"TZ"}
# Where files are put in the container
_WRITABLE = ("/etc/prosody", "/tmp", "/var/lib/prosody")  # noqa: S108
# Where a variable for one host is tried: section and the end of the name, by scope.
_PLACES = {
    "host": ((DOMAIN, "CHAT_EXAMPLE"), (ROOMS, "CONFERENCE_CHAT_EXAMPLE")),
    "muc": ((ROOMS, "CONFERENCE_CHAT_EXAMPLE"),),
    "upload": ((UPLOADS, "UPLOAD_CHAT_EXAMPLE"),),
    "pubsub": (("pubsub.chat.example", "PUBSUB_CHAT_EXAMPLE"),),
    "proxy65": (("proxy.chat.example", "PROXY_CHAT_EXAMPLE"),),
    "external": (("irc.chat.example", "IRC_CHAT_EXAMPLE"),),
}


@dataclass(frozen=True)
class Case:
    """An environment, and files that exist; bytes that are no UTF-8 are surrogates, as in os.environ."""

    environment: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One case of environment.yaml."""

    variable: Variable
    number: int
    text: str | None
    others: Mapping[str, str | None]
    files: Mapping[str, str]
    expect: Mapping[str, Mapping[str, Any] | None]
    problem: str | None

    @property
    def id(self) -> str:
        return f"{self.variable.name}-{self.number}"

    def surroundings(self) -> dict[str, str]:
        """The environment without the variable itself."""
        usual = {} if self.variable.name == "PROSODY_DOMAIN" else {"PROSODY_DOMAIN": DOMAIN}
        return {name: text for name, text in (usual | dict(self.others)).items() if text is not None}

    def case(self, name: str | None = None) -> Case:
        """The case, with another name for the variable if there is one."""
        own = {} if self.text is None else {name or self.variable.instance: self.text}
        return Case(self.surroundings() | own, self.files)

    def case_from_file(self) -> Case:
        """The case, with the value in a file."""
        name, path = self.variable.instance, "/tmp/values/value"  # noqa: S108  (a place in the container)
        return Case(self.surroundings() | {f"{name}_FILE": path}, {**self.files, path: f"{self.text}\n"})


@cache
def variables() -> Mapping[str, Variable]:
    return {variable.name: variable for variable in catalogue.load().variables}


@cache
def table() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = yaml.safe_load((_HERE / "environment.yaml").read_text())
    return loaded


@cache
def rows() -> Sequence[Row]:
    """The table; what is not in the catalogue is left to test_the_table_is_complete."""
    return [
        Row(
            variables()[name],
            number,
            case["set"],
            case.get("with", {}),
            case.get("files", {}),
            case.get("expect", {}),
            case.get("problem"),
        )
        for name, cases in table().items()
        if name in variables()
        for number, case in enumerate(cases, 1)
    ]


def _accepted_rows() -> list[Row]:
    return [row for row in rows() if row.text is not None and row.problem is None]


def _alias(row: Row, alias: str) -> str:
    """A name that can be set, for an alias that may be the beginning of a family."""
    if "<" not in alias:
        return alias
    beginning = row.variable.name.split("<")[0]
    return alias.split("<")[0] + row.variable.instance.removeprefix(beginning).lower()


def _alias_rows() -> list[tuple[Row, str]]:
    """First case of each variable that has other names, with each of them."""
    first = {row.variable.name: row for row in reversed(_accepted_rows())}
    return [
        (row, _alias(row, alias))
        for row in first.values()
        for alias in row.variable.aliases
        if alias not in _DIFFERENT_ALIASES
    ]


def _file_rows() -> list[Row]:
    return [row for row in _accepted_rows() if row.variable.name not in _NEVER_FROM_A_FILE]


def _host_rows() -> list[tuple[Row, str, str]]:
    """First case of each variable for which a host can have a value of its own: row, section, end of the name."""
    found, seen = [], set()
    for row in _accepted_rows():
        scope = row.variable.entry.get("scope")
        if scope is None or row.variable.is_family or row.variable.name in seen or len(row.expect) != 1:
            continue
        seen.add(row.variable.name)
        found += [(row, section, end) for section, end in _PLACES[scope]]
    return found


# ---- Values that try to be more than a value

_PIECES = [
    b'"', b"'", b"]]", b"[[", b"]=]", b"--", b"--[[", b"--[==[\n", b"\\", b"\\0", b'\\"', b"\\z", b"%", b"%s%n", b"%1",
    b"^.-$", b"$(id)", b"${PROSODY_DOMAIN}", b"$HOME", b"`id`", b";", b"\n", b"\r\n", b"\t", b" ", b"\x7f", b"\x1b[31m",
    b"\x01", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "ü".encode(), "\U0001f600".encode(),
    "\u2028".encode(), "\ufeff".encode(), b"{", b"}", b"{}", b"[1,2]", b"null", b"nil", b"none", b"true", b"0", b"=",
    b":", b",", b'"; Lua.io.open("/tmp/sentinel", "w"):close() --', b"]]; Lua.sentinel = true --[[",
    b"\nLua.sentinel = true\n", b"' .. (function() sentinel = 1 end)() .. '", b"os.execute('touch /tmp/sentinel')",
    b'"\nVirtualHost "evil.example"\n--', b"ENV_PASSWORD", b'Include "/etc/passwd"', b"FileContents('/etc/passwd')",
    b"__index", b"letters" * 6, b"x" * 5000,
]  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A variable whose value is to become an option as it is."""

    name: str
    section: str
    option: str
    is_line: bool = True
    is_secret: bool = False
    others: Mapping[str, str] = field(default_factory=dict)


_LDAP = {"PROSODY_AUTHENTICATION": "ldap"}
_DATABASE = {"PROSODY_SQL_DRIVER": "PostgreSQL", "PROSODY_SQL_DB": "a", "PROSODY_SQL_USERNAME": "b"}
_TARGETS = [
    Target("PROSODY_NAME", DOMAIN, "name"),
    Target("PROSODY_SITE_NAME", _GLOBAL, "site_name"),
    Target("PROSODY_MUC_NAME", ROOMS, "name"),
    Target("PROSODY_REGISTRATION_TITLE", _GLOBAL, "registration_title"),
    Target("PROSODY_LDAP_FILTER", _GLOBAL, "ldap_filter", others=_LDAP),
    Target("PROSODY_TLS_CIPHERS", _GLOBAL, "ssl.ciphers"),
    Target("PROSODY_NAME__CHAT_EXAMPLE", DOMAIN, "name"),
    Target("PROSODY_MOTD", _GLOBAL, "motd_text", is_line=False),
    Target("PROSODY_WELCOME_MESSAGE", _GLOBAL, "welcome_message", is_line=False),
    Target("PROSODY_LDAP_PASSWORD", _GLOBAL, "ldap_password", is_line=False, is_secret=True, others=_LDAP),
    Target("PROSODY_TURN_SECRET", _GLOBAL, "turn_external_secret", is_line=False, is_secret=True),
    Target("PROSODY_SQL_PASSWORD", _GLOBAL, "sql.password", is_line=False, is_secret=True, others=_DATABASE),
]


@dataclass(frozen=True)
class Attack:
    """A hostile value of one variable, in the environment or in a file."""

    target: Target
    value: bytes
    in_file: bool

    @property
    def case(self) -> Case:
        environment = {"PROSODY_DOMAIN": DOMAIN, **self.target.others}
        text = self.value.decode(errors="surrogateescape")
        if not self.in_file:
            return Case(environment | {self.target.name: text})
        path = "/tmp/values/value"  # noqa: S108  (a place in the container)
        return Case(environment | {f"{self.target.name}_FILE": path}, {path: text})

    @property
    def meant(self) -> bytes | None:
        """The value as it must arrive; None where it cannot be one."""
        value = re.sub(rb"\r?\n\Z", b"", self.value) if self.in_file else self.value
        if not value or b"\0" in value or len(self.value) > 1024 * 1024:
            return None
        if self.target.is_line:
            try:
                value.decode()
            except UnicodeDecodeError:
                return None
            if re.search(rb"[\x00-\x1f\x7f]", value):
                return None
        return value


@cache
def attacks() -> Sequence[Attack]:
    """The same ones each time."""
    dice = random.Random(5222)  # noqa: S311  (repeatable, not secret)
    found = []
    for number in range(360):
        target = _TARGETS[number % len(_TARGETS)]
        value = b"".join(dice.choice(_PIECES) for _ in range(dice.randint(1, 4)))
        in_file = dice.random() < 0.5
        if not in_file:
            value = value.replace(b"\0", b"") or b"-"
        found.append(Attack(target, value, in_file))
    for piece in _PIECES:
        found.append(Attack(_TARGETS[-1], piece, in_file=True))
        found.append(Attack(_TARGETS[0], piece, in_file=True))
    found.append(Attack(_TARGETS[-1], b"x" * 1024 * 1024, in_file=True))
    found.append(Attack(_TARGETS[-1], b"x" * (1024 * 1024 + 1), in_file=True))
    return found


# ---- Options by their own name

OPTIONS: Mapping[str, Any] = {
    "30": 30,
    "-1": -1,
    "0.5": 0.5,
    "true": True,
    "false": False,
    '"a \\"b\\" ]] --"': 'a "b" ]] --',
    '"30"': "30",
    "[]": [],
    '["a", 1, true, ["b"]]': ["a", 1, True, ["b"]],
    "{}": {},
    '{"a": {"b": [1, {"c": "d"}]}, "e f": false, "gone": null}': {"a": {"b": [1, {"c": "d"}]}, "e f": False},
}
_OPTION_PLACES = {_GLOBAL: "", DOMAIN: "__CHAT_EXAMPLE", ROOMS: "__CONFERENCE_CHAT_EXAMPLE"}


# ---- Asking


class Answers:
    """What Prosody has for each case, by the case's name."""

    def __init__(self, answers: Mapping[str, Mapping[str, Any]], left: Mapping[str, Any]) -> None:
        self._answers = answers
        self.left = left

    def problem(self, name: str) -> str:
        """Why the configuration was refused."""
        answer = self._answers[name]
        assert "problem" in answer, f"accepted: {_shortened(answer)}"
        return str(answer["problem"])

    def sections(self, name: str) -> dict[str, Any]:
        """All sections, and `process`."""
        answer = self._answers[name]
        assert "sections" in answer, f"refused: {_shortened(answer)}"
        assert not answer.get("warnings"), answer["warnings"]
        return {**answer["sections"], "process": answer["process"]}


def _shortened(answer: Mapping[str, Any]) -> str:
    return repr(answer)[:2000]


def cases() -> dict[str, Case]:
    """All cases of this module, by name."""
    found = {"nothing": Case({"PROSODY_DOMAIN": DOMAIN})}
    found |= {row.id: row.case() for row in rows()}
    found |= {f"{row.id}-{alias}": row.case(alias) for row, alias in _alias_rows()}
    found |= {f"{row.id}-FILE": row.case_from_file() for row in _file_rows()}
    for row, section, end in _host_rows():
        found[f"{row.id}@{section}"] = row.case(f"{row.variable.instance}__{end}")
        found[f"{row.id}@{section}-without"] = Case(row.surroundings(), row.files)
    for number, attack in enumerate(attacks()):
        found[f"attack-{number}"] = attack.case
    for text in OPTIONS:
        for end in _OPTION_PLACES.values():
            found[f"option{end}={text}"] = Case({"PROSODY_DOMAIN": DOMAIN, f"PROSODY_OPTION_read_back{end}": text})
    for name, environment in OTHERS.items():
        found[name] = Case({"PROSODY_DOMAIN": DOMAIN, **environment})
    return found


OTHERS: Mapping[str, Mapping[str, str]] = {
    "option-null": {"PROSODY_OPTION_c2s_require_encryption": "null"},
    "option-null-host": {
        "PROSODY_MUC_NAME": "Rooms",
        "PROSODY_OPTION_name__CONFERENCE_CHAT_EXAMPLE": "null",
    },
    "option-capitals": {"PROSODY_OPTION_C2S_TIMEOUT": "30"},
    "option-modules": {"PROSODY_OPTION_modules_enabled": '["disco", "roster"]'},
    "option-twice": {"PROSODY_OPTION_c2s_timeout": "30", "PROSODY_C2S_TIMEOUT": "20"},
    "option-no-name": {"PROSODY_OPTION_a.b": "1"},
    "no-host": {"PROSODY_NAME__ELSEWHERE_EXAMPLE": "a"},
    "no-scope": {"PROSODY_C2S_PORTS__CHAT_EXAMPLE": "5222"},
    "alias-and-name": {"PROSODY_LOGLEVEL": "warn", "LOG_LEVEL": "error"},
    "value-and-file": {"PROSODY_NAME": "a", "PROSODY_NAME_FILE": "/etc/hostname"},
    "no-file": {"PROSODY_NAME_FILE": "/etc/prosody/missing"},
    "slip": {"PROSODY_C2S_PORT": "5222"},
}


def ask(
    client: docker.DockerClient,
    image: str,
    asked: Sequence[Case],
    folder: Path,
    mounts: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Put cases to Prosody in a new container: an answer for each, and what they left behind."""
    question = folder / "cases.json"
    described = [{"environment": dict(case.environment), "files": dict(case.files)} for case in asked]
    question.write_bytes(json.dumps(described, ensure_ascii=False).encode(errors="surrogateescape"))
    question.chmod(0o644)
    places = {str(_HERE / "read_back.lua"): "/read_back.lua", str(question): "/cases.json", **(mounts or {})}
    container = client.containers.create(
        image,
        entrypoint=["/usr/bin/lua5.4", "/read_back.lua", "/cases.json"],
        volumes={source: {"bind": place, "mode": "ro"} for source, place in places.items()},
        tmpfs=dict.fromkeys(_WRITABLE, "mode=1777"),
        **CONFINED,
    )
    try:
        container.start()
        status = int(container.wait(timeout=120)["StatusCode"])
        output = container.logs(stdout=True, stderr=False).decode(errors="surrogateescape")
        assert status == 0, container.logs(stdout=False, stderr=True).decode(errors="replace")[-2000:]
    finally:
        container.remove(force=True, v=True)
    # Not splitlines(): it also splits at characters that a value may contain.
    answers = [json.loads(line) for line in output.split("\n") if line]
    assert len(answers) == len(asked) + 1
    return answers


@pytest.fixture(scope="module")
def answers(client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """The answers to all cases of this module."""
    asked = cases()
    *answered, left = ask(client, image.name, list(asked.values()), tmp_path_factory.mktemp("environment"))
    return Answers(dict(zip(asked, answered, strict=True)), left)


# ---- Comparing

_MISSING = object()


def find(options: Mapping[str, Any], path: str) -> Any:
    """The option at a path: limits.c2s.rate; lists are counted from 1."""
    value: Any = options
    for part in path.split("."):
        if isinstance(value, list) and part.isdigit() and 0 < int(part) <= len(value):
            value = value[int(part) - 1]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return _MISSING
    return value


def same(found: Any, wanted: Any) -> bool:
    """Whether a value of Lua's is the one wanted: a number is no boolean, 1.0 is not 1, {} is also an empty list."""
    if isinstance(found, dict) and set(found) == {"float"} and isinstance(wanted, float):
        return float(found["float"]) == wanted
    if found in ([], {}) and wanted in ([], {}):
        return True
    if isinstance(found, dict) and isinstance(wanted, dict):
        return set(found) == set(wanted) and all(same(found[key], wanted[key]) for key in wanted)
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return type(found) is type(wanted) and bool(found == wanted)


def _is_about_items(wanted: Any) -> bool:
    return isinstance(wanted, dict) and bool(wanted) and set(wanted) <= {"contains", "lacks"}


def differences(sections: Mapping[str, Any], expect: Mapping[str, Mapping[str, Any] | None]) -> Iterator[str]:
    """What is not as expected, one line each."""
    for section, options in expect.items():
        if options is None:
            if section in sections:
                yield f"{section} is there"
            continue
        if section not in sections:
            yield f"{section} is not there; there are {', '.join(sections)}"
            continue
        for path, wanted in options.items():
            found = find(sections[section], path)
            if _is_about_items(wanted):
                items = set() if found in (_MISSING, {}) else set(found)
                if missing := set(wanted.get("contains", ())) - items:
                    yield f"{section}: {path} lacks {', '.join(sorted(missing))}"
                if unwanted := set(wanted.get("lacks", ())) & items:
                    yield f"{section}: {path} contains {', '.join(sorted(unwanted))}"
            elif wanted is None:
                if found is not _MISSING:
                    yield f"{section}: {path} is {found!r}, expected not to be set"
            elif not same(found, wanted):
                yield f"{section}: {path} is {'not set' if found is _MISSING else repr(found)}, expected {wanted!r}"


def effective(sections: Mapping[str, Any], section: str) -> dict[str, Any]:
    """A section with what it inherits, as modules see it; those of both lists of modules are loaded (modulemanager)."""
    found = {**sections[_GLOBAL], **sections[section]}
    enabled = {name for part in (_GLOBAL, section) for name in sections[part].get("modules_enabled", ())}
    return {**found, "modules_enabled": sorted(enabled - set(found["modules_disabled"]))}


# ---- Tests


def test_the_table_is_complete() -> None:
    """A variable that is added to the catalogue needs a case here, with a value."""
    with_value = {name for name, found in table().items() if any(case["set"] is not None for case in found)}
    assert set(variables()) - with_value == set(), "without a case in tests/integration/environment.yaml"
    assert set(table()) - set(variables()) == set(), "not in images/environment.yaml"
    for row in rows():
        assert row.text is None or isinstance(row.text, str), f"{row.id}: quote the value"
        assert bool(row.expect) != bool(row.problem), f"{row.id}: either expect or problem"
    accepted = {row.variable.name for row in _accepted_rows()}
    assert set(variables()) - accepted == set(), "without a value that is accepted"
    for alias in _DIFFERENT_ALIASES:
        assert any(alias in row.others for row in rows()), f"{alias} has no case of its own"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.id)
def test_a_variable_does_what_it_says(answers: Answers, row: Row) -> None:
    if row.problem is not None:
        assert re.search(row.problem, answers.problem(row.id))
        return
    assert list(differences(answers.sections(row.id), row.expect)) == []


@pytest.mark.parametrize(("row", "alias"), _alias_rows(), ids=lambda value: getattr(value, "id", value))
def test_names_of_other_images_do_the_same(answers: Answers, row: Row, alias: str) -> None:
    assert answers.sections(f"{row.id}-{alias}") == answers.sections(row.id)


@pytest.mark.parametrize("row", _file_rows(), ids=lambda row: row.id)
def test_a_value_may_come_from_a_file(answers: Answers, row: Row) -> None:
    assert answers.sections(f"{row.id}-FILE") == answers.sections(row.id)


@pytest.mark.parametrize(("row", "section", "end"), _host_rows(), ids=lambda value: getattr(value, "id", value))
def test_a_host_may_have_a_value_of_its_own(answers: Answers, row: Row, section: str, end: str) -> None:
    del end
    found, without = answers.sections(f"{row.id}@{section}"), answers.sections(f"{row.id}@{section}-without")
    ((usual_section, options),) = row.expect.items()
    assert options is not None
    new = {option: wanted for option, wanted in options.items() if _fails(without, usual_section, option, wanted)}
    assert list(differences({section: effective(found, section)}, {section: new})) == []
    changed = {name for name in {*found, *without} if found.get(name) != without.get(name)}
    assert changed == {section}


def _fails(sections: Mapping[str, Any], section: str, option: str, wanted: Any) -> bool:
    """Whether a value is not there anyway."""
    return any(differences({section: effective(sections, section)}, {section: {option: wanted}}))


def test_no_variable_for_a_host_drives_an_option_that_holds_for_all(answers: Answers) -> None:
    """Prosody itself lists the options that no host can have for itself (prosodyctl check config)."""
    known = set(answers.left["global_options"])
    assert len(known) > 50
    per_host = [variable for variable in variables().values() if variable.entry.get("scope") == "host"]
    assert [variable.name for variable in per_host if known.intersection(variable.options)] == []


@pytest.mark.parametrize("text", OPTIONS)
@pytest.mark.parametrize("section", _OPTION_PLACES)
def test_any_option_can_be_set(answers: Answers, text: str, section: str) -> None:
    found = answers.sections(f"option{_OPTION_PLACES[section]}={text}")
    assert list(differences(found, {section: {"read_back": OPTIONS[text]}})) == []
    others = set(found) - {section, "process"}
    assert [name for name in others if "read_back" in found[name]] == []


def test_null_takes_an_option_away(answers: Answers) -> None:
    expect = {_GLOBAL: {"c2s_require_encryption": None, "s2s_require_encryption": True}}
    assert list(differences(answers.sections("option-null"), expect)) == []
    assert (
        list(differences(answers.sections("option-null-host"), {ROOMS: {"name": None, "component_module": "muc"}}))
        == []
    )


def test_options_are_written_in_small_letters(answers: Answers) -> None:
    assert list(differences(answers.sections("option-capitals"), {_GLOBAL: {"c2s_timeout": 30}})) == []


def test_a_list_of_modules_stays_as_it_is_given(answers: Answers) -> None:
    expect = {_GLOBAL: {"modules_enabled": ["disco", "roster"]}}
    assert list(differences(answers.sections("option-modules"), expect)) == []


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("option-twice", "PROSODY_OPTION_c2s_timeout and PROSODY_C2S_TIMEOUT"),
        ("option-no-name", r"a\.b.*not the name of an option"),
        ("no-host", "ELSEWHERE_EXAMPLE.*CHAT_EXAMPLE"),
        ("no-scope", "PROSODY_C2S_PORTS__CHAT_EXAMPLE is not a variable"),
        ("alias-and-name", "PROSODY_LOGLEVEL and LOG_LEVEL"),
        ("value-and-file", "PROSODY_NAME and PROSODY_NAME_FILE"),
        ("no-file", "PROSODY_NAME_FILE.*No such file"),
        ("slip", "PROSODY_C2S_PORT .*PROSODY_C2S_PORTS"),
    ],
)
def test_contradictions_and_slips_are_refused(answers: Answers, name: str, pattern: str) -> None:
    assert re.search(pattern, answers.problem(name))


def test_a_hostile_value_is_refused_or_stays_a_value(answers: Answers) -> None:
    for number, attack in enumerate(attacks()):
        target, meant, name = attack.target, attack.meant, f"attack-{number}"
        if meant is None:
            problem = answers.problem(name)
            assert target.name in problem, (attack, problem)
            assert not re.search(r"[\x00-\x1f\x7f]", problem), (attack, problem)
            if target.is_secret:
                assert "letters" not in problem
                assert "sentinel" not in problem
            continue
        text = meant.decode(errors="surrogateescape")
        assert list(differences(answers.sections(name), {target.section: {target.option: text}})) == [], attack
        assert set(answers.sections(name)) == {_GLOBAL, DOMAIN, ROOMS, UPLOADS, "process"}, attack


def test_no_value_was_ever_run(answers: Answers) -> None:
    assert answers.left["globals"] == {}
    assert "sentinel" not in answers.left


_UMASK = """
for name in require("lfs").dir("/proc") do
    local file = name:find("^%d+$") and io.open("/proc/" .. name .. "/status")
    local status = file and file:read("a") or ""
    if status:find("PPid:%s*1\\n") then io.write(status:match("Umask:%s*(%d+)")) end
end
"""


def test_the_umask_of_the_server(client: docker.DockerClient, image: LoadedImage) -> None:
    """No option of Prosody's does this, so its process is asked: the one that the container's first has started."""
    server = Server(client, image, {"PROSODY_DOMAIN": DOMAIN, "PROSODY_UMASK": "077"})
    try:
        server.start()
        assert server.execute("/usr/bin/lua5.4", "-e", _UMASK) == Outcome(0, "0077")
    finally:
        server.remove()
