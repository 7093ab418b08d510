"""Commands of the container; variables that are wrong; secrets, which nothing may show."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from scripts import catalogue, modules
from scripts.catalogue import Variable
from tests.integration import servers
from tests.integration.clients import log_in
from tests.integration.containers import LoadedImage, Outcome
from tests.integration.servers import ACCOUNTS, DOMAIN, Server

MASK = "********"
JULIET = f"juliet@{DOMAIN}"
COMMANDS = ("check", "config", "modules", "prosodyctl")


class Container:
    """Commands of new containers, with a folder of this machine that may be mounted."""

    def __init__(self, client: docker.DockerClient, image: LoadedImage, folder: Path) -> None:
        self.client, self.image, self.folder = client, image, folder
        self._mounts: dict[str, dict[str, str]] = {}

    def put(self, path: str, text: str) -> None:
        """A file in the container; its folder holds nothing else but such files."""
        place = Path(path)
        source = self.folder / place.parent.as_posix().strip("/").replace("/", "-")
        source.mkdir(mode=0o755, exist_ok=True)
        (source / place.name).write_text(text)
        (source / place.name).chmod(0o644)
        self._mounts[str(source)] = {"bind": str(place.parent), "mode": "ro"}

    def run(self, *command: str, **environment: str) -> Outcome:
        """Run a command."""
        variables = {"PROSODY_DOMAIN": DOMAIN} | environment
        return servers.run(self.client, self.image, *command, environment=variables, volumes=self._mounts)

    def serve(self, **environment: str) -> Server:
        """A server that is not started yet."""
        server = Server(self.client, self.image, {"PROSODY_DOMAIN": DOMAIN} | environment)
        server.mounts = self._mounts
        return server


@pytest.fixture
def container(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> Container:
    return Container(client, image, tmp_path)


def sections(check: str) -> dict[str, dict[str, tuple[str, str]]]:
    """What `check` prints: value and origin by name, by section; variables are in the section ""."""
    found: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    section = ""
    for line in check.splitlines():
        if heading := re.fullmatch(r"\[(.+)\]", line):
            section = heading[1]
            found[section] = {}
        elif pair := re.fullmatch(r"(\S+?) ?= ?(.*)  \((.*)\)", line):
            found[section][pair[1]] = pair[2], pair[3]
        else:
            assert not line or line.startswith("#"), line
    return found


# ---- check


def test_check_shows_variables_and_options_with_their_origins(container: Container) -> None:
    container.put("/values/motd", "Hello\nthere\n")
    container.put(
        "/etc/prosody/conf.d/own.cfg.lua",
        'c2s_timeout = 77\nc2s_close_timeout = 1\nmodules_enabled:append { "motd" }\n'
        f'VirtualHost "{DOMAIN}"\n name = "Ours"\nVirtualHost "second.example"\n name = "Second"\n',
    )
    outcome = container.run(
        "check",
        PROSODY_MOTD_FILE="/values/motd",
        LOG_LEVEL="warn",
        PROSODY_NAME="A server",
        PROSODY_NAME__CHAT_EXAMPLE="Another",
        PROSODY_C2S_CLOSE_TIMEOUT="2",
        PROSODY_OPTION_smacks_max_queue_size="9",
        PROSODY_OPTION_motd_title__CHAT_EXAMPLE='"A title"',
    )
    assert outcome.status == 0, outcome.text
    assert "problem" not in outcome.errors
    found = sections(outcome.output)
    variables, options, host = found[""], found["*"], found[DOMAIN]
    assert variables["PROSODY_DOMAIN"] == (DOMAIN, "environment")
    assert variables["PROSODY_MOTD"] == ("Hello\\x0Athere", "/values/motd")
    assert variables["PROSODY_LOGLEVEL"] == ("warn", "LOG_LEVEL")
    assert variables["PROSODY_UMASK"] == ("027", "default")
    assert variables["PROSODY_OPTION_smacks_max_queue_size"] == ("9", "environment")
    assert options["motd_text"] == ("Hello\\x0Athere", "/values/motd")
    assert options["smacks_max_queue_size"] == ("9", "PROSODY_OPTION_smacks_max_queue_size")
    assert options["c2s_timeout"] == ("77", "conf.d")
    assert options["c2s_close_timeout"] == ("1", "conf.d"), "conf.d changed it"
    assert options["modules_enabled"][1] == "conf.d", "conf.d changed it"
    assert options["c2s_require_encryption"] == ("true", "default")
    assert options["plugin_paths"][1] == "image"
    assert variables["PROSODY_NAME__CHAT_EXAMPLE"] == ("Another", "environment")
    assert host["name"] == ("Ours", "conf.d")
    assert host["motd_title"] == ("A title", "PROSODY_OPTION_motd_title__CHAT_EXAMPLE")
    assert found["second.example"]["name"] == ("Second", "conf.d")
    assert found[f"conference.{DOMAIN}"]["component_module"] == ("muc", "image")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("c2s_timeout = \n", "own.cfg.lua"),
        ('error "made up"', "made up"),
        ("nothing.at_all = 1\n", "own.cfg.lua"),
        ('VirtualHost "conference.chat.example"\n', "clashes"),
        ('Include "missing.cfg.lua"\n', "missing.cfg.lua"),
    ],
    ids=["syntax", "error", "nil", "clash", "include"],
)
@pytest.mark.parametrize("command", ["check", "config", ""])
def test_what_is_wrong_in_a_file_is_a_problem(container: Container, command: str, text: str, expected: str) -> None:
    container.put("/etc/prosody/conf.d/own.cfg.lua", text)
    outcome = container.run(*filter(None, [command]))
    assert outcome.status == 78, outcome.text
    assert expected in outcome.errors
    assert sum(expected in line for line in outcome.errors.splitlines()) == 1, outcome.errors
    if command == "config":
        assert outcome.output == ""


def test_a_slip_in_a_file_is_noted(container: Container) -> None:
    container.put("/etc/prosody/conf.d/own.cfg.lua", "welcome_message = Hello\n")
    outcome = container.run("check")
    assert outcome.status == 0, outcome.text
    assert "own.cfg.lua" in outcome.errors
    assert "Hello" in outcome.errors


def test_check_tells_each_problem_once(container: Container) -> None:
    outcome = container.run("check", PROSODY_MUC_MODULES="vcard_muk")
    assert outcome.status == 78, outcome.text
    assert outcome.text.count("there is no module vcard_muk") == 1
    assert "PROSODY_MUC_MODULES" in sections(outcome.output)[""]


# ---- config


def test_config_is_json(container: Container) -> None:
    container.put("/etc/prosody/conf.d/own.cfg.lua", 'c2s_timeout = 1/0\nwelcome_message = "caf\\xe9 \\0 \\u{1F600}"\n')
    outcome = container.run(
        "config",
        PROSODY_NAME='quotes " and \\',
        PROSODY_ACCOUNTS=f"{JULIET}:a-secret",
        PROSODY_OPTION_own='{"a": {"b": [1, 2.5, true, "c"]}, "d": []}',
    )
    assert outcome.status == 0, outcome.text
    found = json.loads(outcome.output)
    assert set(found) == {"variables", "options"}
    assert found["variables"]["PROSODY_DOMAIN"] == {"value": DOMAIN, "origin": "environment"}
    assert found["variables"]["PROSODY_ACCOUNTS"]["value"] == MASK
    assert {"*", DOMAIN, f"conference.{DOMAIN}", f"upload.{DOMAIN}"} == set(found["options"])
    assert 'quotes " and \\' in (found["options"]["*"].get("name"), found["options"][DOMAIN].get("name"))
    assert found["options"]["*"]["own"] == {"a": {"b": [1, 2.5, True, "c"]}, "d": []}
    assert found["options"]["*"]["c2s_timeout"] == "inf"
    assert found["options"]["*"]["welcome_message"] == "caf\\xE9 \x00 \\xF0\\x9F\\x98\\x80"
    accounts = found["options"][DOMAIN]["container_accounts"]
    assert accounts == [{"username": "juliet", "host": DOMAIN, "password": MASK}]
    assert "a-secret" not in outcome.text


def test_config_is_what_the_server_has(container: Container) -> None:
    """Compared with what the running server's own configuration manager says."""
    server = container.serve(PROSODY_C2S_RATE_LIMIT="7kb/s")
    try:
        server.start()
        manager = "require 'prosody.core.configmanager'"
        assert "7kb/s" in server.shell(f"> {manager}.get('*', 'limits').c2s.rate")
    finally:
        server.remove()
    config = json.loads(container.run("config", PROSODY_C2S_RATE_LIMIT="7kb/s").output)
    assert config["options"]["*"]["limits"]["c2s"]["rate"] == "7kb/s"


# ---- modules


def test_modules_are_listed_once_with_what_they_do(container: Container) -> None:
    source = 'module:depends "disco"\nmodule:depends("ping")\n'
    container.put("/etc/prosody/modules/mod_of_mine.lua", source)
    container.put("/etc/prosody/modules/mod_motd.lua", "-- in place of the one in the image\n")
    outcome = container.run("modules")
    assert outcome.status == 0, outcome.text
    lines = [line.split("\t") for line in outcome.output.splitlines()]
    names = [line[0] for line in lines]
    assert names == sorted(set(names))
    listed = {line[0]: line[1:] for line in lines}
    assert listed["of_mine"] == ["your own", "", "loads disco, ping"]
    assert listed["motd"] == ["your own", ""]
    known = {module.name: module for module in modules.load()}
    assert set(known) - set(listed) <= {name for name in known if name.startswith("container_")}
    assert set(listed) - set(known) == {"of_mine"}
    for name in set(known) & set(listed) - {"motd"}:
        assert listed[name][:2] == [known[name].origin, known[name].summary]
        assert any(column.startswith("broken: ") for column in listed[name]) == (known[name].broken is not None)
        assert any(column.startswith("obsolete: ") for column in listed[name]) == (known[name].obsolete is not None)


# ---- Usage


@pytest.mark.parametrize("option", ["--help", "-h", "help"])
def test_help_is_printed(container: Container, option: str) -> None:
    outcome = container.run(option)
    assert outcome.status == 0
    assert outcome.errors == ""
    assert outcome.output.startswith("usage: ")
    assert all(re.search(rf"^\s+{command}\b", outcome.output, re.MULTILINE) for command in COMMANDS)


@pytest.mark.parametrize("command", ["bash", "sh", "/bin/sh", "checks", "a\nb\x1b[31m"])
def test_an_unknown_command_is_explained(container: Container, command: str) -> None:
    outcome = container.run(command)
    assert outcome.status == 64
    assert outcome.output == ""
    assert "unknown command" in outcome.errors
    assert "usage: " in outcome.errors
    assert "\x1b" not in outcome.errors


@pytest.mark.parametrize("command", ["check", "config", "modules"])
def test_arguments_that_mean_nothing_are_refused(container: Container, command: str) -> None:
    outcome = container.run(command, "--strict")
    assert outcome.status == 64
    assert "usage: " in outcome.errors


def test_a_server_in_the_background_is_refused(container: Container) -> None:
    outcome = container.run("prosody", "--daemonize")
    assert outcome.status == 64
    assert "foreground" in outcome.errors


@pytest.mark.parametrize("command", [("install", "mod_example"), ("remove", "mod_example"), ("list",)])
def test_modules_are_not_installed_without_luarocks(
    client: docker.DockerClient, image: LoadedImage, command: tuple[str, ...]
) -> None:
    outcome = servers.run(client, image, "prosodyctl", *command)
    assert outcome.status == 64
    assert "needs luarocks" in outcome.text
    assert "/etc/prosody/modules" in outcome.text


def test_there_is_no_shell(client: docker.DockerClient, image: LoadedImage) -> None:
    for shell in ("/bin/sh", "/bin/bash", "/bin/busybox"):
        with pytest.raises(docker.errors.APIError, match="no such file"):
            servers.run(client, image, "-c", "true", entrypoint=[shell])


def test_prosodyctl_runs_without_a_server(container: Container) -> None:
    outcome = container.run("prosodyctl", "about")
    assert outcome.status == 0, outcome.text
    assert re.search(r"^Prosody \d+\.\d+\.\d+", outcome.output, re.MULTILINE)
    assert "error" not in outcome.text, outcome.text


# ---- In a running container


def test_prosodyctl_finds_nothing_wrong_with_the_defaults(own_server: Server) -> None:
    outcome = own_server.execute("prosodyctl", "check", "config")
    assert outcome.status == 0, outcome.text
    assert "All checks passed" in outcome.output
    assert outcome.errors == ""


def test_the_shell_answers(own_server: Server) -> None:
    assert own_server.shell("server:uptime()").startswith("OK: This server has been running for")
    assert f"alice@{DOMAIN}" in own_server.shell(f"user:list('{DOMAIN}')")


def test_an_account_can_be_added(own_server: Server, tmp_path: Path) -> None:
    """Its password is asked for, so that it is in no list of processes."""
    answers = b"a long password\n" * 2
    api: Any = own_server.client.api
    command = ["prosodyctl", "adduser", f"romeo@{DOMAIN}"]
    made = api.exec_create(own_server.running.id, command, stdin=True)
    connection = api.exec_start(made["Id"], socket=True)
    connection._sock.sendall(answers)
    output = b""
    while chunk := connection._sock.recv(4096):
        output += chunk
    connection.close()
    assert api.exec_inspect(made["Id"])["ExitCode"] == 0, output
    log_in(own_server.port(), f"romeo@{DOMAIN}", "a long password", own_server.certificate(tmp_path))


@pytest.mark.parametrize("command", ["adduser", "passwd"])
def test_a_question_that_nobody_can_answer_is_not_asked(own_server: Server, command: str) -> None:
    outcome = own_server.execute("prosodyctl", command, f"alice@{DOMAIN}")
    assert outcome.status == 64, outcome.text
    assert "docker exec -it" in outcome.errors


# ---- Wrong variables


def test_every_wrong_variable_is_named_at_once(container: Container) -> None:
    wrong = {
        "PROSODY_LOGLEVEL": "loud",
        "PROSODY_STORAGE": "cloud storage",
        "PROSODY_C2S_PORTS": "70000",
        "PROSODY_UMASK": "700",
        "PROSODY_ADMINS": "juliet",
        "PROSODY_DOMIAN": "typo.example",
        "PROSODY_ACCOUNTS": "no-domain:do-not-print-me",
        "PROSODY_SQL_PASSWORD_FILE": "/missing",
        "PROSODY_NAME": "a\x1b[31mb",
    }
    outcome = container.run(**wrong)
    assert outcome.status == 78, outcome.text
    assert outcome.output == "", "something was started"
    lines = outcome.errors.splitlines()
    for name in wrong:
        assert sum(bool(re.search(rf"\b{name}\b", line)) for line in lines) == 1, f"{name}:\n{outcome.errors}"
    assert "did you mean PROSODY_DOMAIN" in outcome.errors
    assert f"{len(wrong)} problems" in lines[-1]
    assert "do-not-print-me" not in outcome.text
    assert "\x1b" not in outcome.text


def test_wrong_combinations_are_found_before_anything_listens(container: Container) -> None:
    outcome = container.run(
        PROSODY_ENABLE_MODULES="mottd",
        PROSODY_MUC_DOMAIN=DOMAIN,
        PROSODY_STORAGE="sql",
        PROSODY_ACCOUNTS="romeo@elsewhere.example:do-not-print-me",
        PROSODY_NAME__ELSEWHERE_EXAMPLE="a",
    )
    assert outcome.status == 78, outcome.text
    for expected in (
        "did you mean motd",
        f"{DOMAIN} is both",
        "PROSODY_SQL_DRIVER",
        "romeo@elsewhere.example",
        "CHAT_EXAMPLE",
    ):
        assert expected in outcome.errors, expected
    assert "5 problems" in outcome.errors
    assert "portmanager" not in outcome.text
    assert "do-not-print-me" not in outcome.text


# ---- Secrets


def is_free_of(texts: Mapping[str, str], output: str) -> list[str]:
    """Variables whose secret is somewhere in the output."""
    return [name for name, text in texts.items() if text in output]


def secret_variables(jitsi: bool = True) -> list[Variable]:
    """All of them, or without those that only a Jitsi deployment takes."""
    sections = [section for section in catalogue.load().sections if jitsi or section.title != "Jitsi"]
    return [variable for section in sections for variable in section.variables if variable.is_secret]


def secret_value(variable: Variable, text: str) -> str:
    """A value of a secret variable with the secret in it."""
    kind = variable.entry["type"]
    if kind == "text":
        return text
    if kind == "accounts":
        return f"{JULIET}:{text}"
    if kind == "map":
        return f"irc.{DOMAIN}:{text}"
    assert kind == "json"
    examples: dict[str, Any] = {
        "PROSODY_AUTH_SQL": {"driver": "SQLite3", "database": "accounts.sqlite", "password": text},
        "PROSODY_REGISTRATION_CAPTCHA": {"provider": "hcaptcha", "captcha_private_key": text},
        "PROSODY_EXTERNAL_SERVICES": [{"type": "turn", "transport": "udp", "port": 3478, "password": text}],
    }
    return json.dumps(examples[variable.name])


def every_secret(jitsi: bool = True) -> tuple[dict[str, str], dict[str, str]]:
    """All secret variables with a value each, and the secrets in them by variable."""
    names = [variable.name for variable in secret_variables(jitsi)]
    texts = {name: f"hush-{number:02}-{uuid.uuid4().hex}" for number, name in enumerate(names)}
    values = {variable.name: secret_value(variable, texts[variable.name]) for variable in secret_variables(jitsi)}
    # More ways to set one
    others = {
        "PROSODY_COMPONENT_SECRET__IRC_CHAT_EXAMPLE": ("hush-of-one-host", "{}"),
        "PROSODY_OPTION_own_token": ("hush-in-an-option", '"{}"'),
        "PROSODY_SQL_DB": ("hush-in-a-connection-string", "dbname=prosody host=localhost password={}"),
    }
    for name, (text, value) in others.items():
        texts[name], values[name] = text, value.format(text)
    return values | {"LOCAL": "romeo"}, texts


@pytest.mark.parametrize(
    "storage",
    [{}, {"PROSODY_SQL_DRIVER": "PostgreSQL"}, {"PROSODY_SQL_DRIVER": "MySQL", "PROSODY_SQL_USERNAME": "prosody"}],
    ids=["files", "no PostgreSQL", "no MySQL"],
)
def test_no_secret_is_shown_by_any_command_or_in_the_log(container: Container, storage: dict[str, str]) -> None:
    values, texts = every_secret(jitsi=False)
    for command in ("check", "config", "modules"):
        outcome = container.run(command, **values, **storage)
        assert outcome.status == 0, outcome.text
        assert is_free_of(texts, outcome.text) == [], command
    server = container.serve(**values, **storage)
    try:
        server.start()
        server.wait_for(lambda: "Running periodic tasks" in server.log(), "the server is prepared")
        assert is_free_of(texts, server.execute("prosodyctl", "check", "config").text) == []
        server.running.kill("SIGHUP")
        server.wait_for(lambda: "Reloading configuration" in server.log(), "the configuration is read again")
        server.shell("server:uptime()")
        assert is_free_of(texts, server.log()) == []
    finally:
        server.remove()


@pytest.mark.parametrize("command", ["", "check", "config", "prosodyctl about"])
def test_no_secret_is_shown_where_the_start_fails(container: Container, command: str) -> None:
    values, texts = every_secret()
    broken = "broken-secret"
    for variable in secret_variables():
        if variable.entry["type"] == "text":
            values[variable.name] += broken
            values[f"{variable.name}_FILE"] = "/also/set"
        else:
            values[variable.name] = f"{broken} {texts[variable.name]}"
    outcome = container.run(*command.split(), **values, PROSODY_SQL_PASSWROD="secret-with-a-slip")
    assert outcome.status == 78, outcome.text
    for variable in secret_variables():
        assert re.search(rf"\b{variable.name}\b", outcome.errors), f"{variable.name}:\n{outcome.errors}"
    assert "did you mean PROSODY_SQL_PASSWORD" in outcome.errors
    assert is_free_of(texts | {"broken": broken, "slip": "secret-with-a-slip"}, outcome.text) == []


@pytest.mark.parametrize("service", [{"type": "turn"}, {"transport": "udp"}, {}], ids=["transport", "type", "both"])
def test_a_service_that_would_be_logged_as_a_whole_is_refused(container: Container, service: dict[str, str]) -> None:
    """Prosody's module writes an incomplete one into the log, with its password."""
    outcome = container.run(PROSODY_EXTERNAL_SERVICES=json.dumps([service | {"port": 3478, "password": "a-secret"}]))
    assert outcome.status == 78, outcome.text
    assert "PROSODY_EXTERNAL_SERVICES" in outcome.errors
    assert "a-secret" not in outcome.text


def test_secrets_are_masked_wherever_they_turn_up(container: Container) -> None:
    container.put(
        "/etc/prosody/conf.d/own.cfg.lua",
        'own_text = "the secret is a-long-secret!"\n'
        'own = { password = 12345, deep = { api_key = "b", list = { "c" } } }\n'
        'own_address = "postgresql://user:hidden@db.example/name"\n',
    )
    outcome = container.run("config", PROSODY_TURN_SECRET="a-long-secret")
    options = json.loads(outcome.output)["options"]["*"]
    assert options["own_text"] == f"the secret is {MASK}!"
    assert options["own"] == {"password": MASK, "deep": {"api_key": MASK, "list": ["c"]}}
    assert options["own_address"] == f"postgresql://user:{MASK}@db.example/name"


@pytest.mark.parametrize(
    ("path", "variables"),
    [
        ("/values/accounts", {"PROSODY_ACCOUNTS_FILE": "/values/accounts"}),
        ("/run/secrets/any-name", {"PROSODY_ACCOUNTS_FILE": "/run/secrets/any-name"}),
        ("/run/secrets/PROSODY_ACCOUNTS", {}),
        ("/run/secrets/prosody_accounts", {}),
        ("/credentials/prosody_accounts", {"CREDENTIALS_DIRECTORY": "/credentials"}),
        ("/credentials/PROSODY_ACCOUNTS", {"CREDENTIALS_DIRECTORY": "/credentials"}),
    ],
    ids=["_FILE", "_FILE of a secret", "upper case", "lower case", "credential", "credential in upper case"],
)
def test_secrets_come_from_files(container: Container, path: str, variables: dict[str, str], tmp_path: Path) -> None:
    alice, password = next(iter(ACCOUNTS.items()))
    container.put(path, f"{alice}:{password}\n")
    assert sections(container.run("check", **variables).output)[""]["PROSODY_ACCOUNTS"] == (MASK, path)
    server = container.serve(**variables)
    try:
        server.start()
        log_in(server.port(), alice, password, server.certificate(tmp_path))
        assert password not in server.log()
    finally:
        server.remove()


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        (None, {"PROSODY_ACCOUNTS_FILE": "/values/missing"}, "No such file"),
        ("", {"PROSODY_ACCOUNTS_FILE": "/values/file"}, "is empty"),
        ("x" * (1024 * 1024 + 1), {"PROSODY_ACCOUNTS_FILE": "/values/file"}, "larger than 1 MiB"),
        ("secret", {"PROSODY_ACCOUNTS_FILE": "/values"}, "directory"),
        (f"{JULIET}:b", {"PROSODY_ACCOUNTS_FILE": "/values/file", "PROSODY_ACCOUNTS": f"{JULIET}:a"}, "both set"),
    ],
    ids=["missing", "empty", "too large", "folder", "both"],
)
def test_a_file_that_is_no_use_stops_the_start(
    container: Container, text: str | None, variables: dict[str, str], expected: str
) -> None:
    container.put("/values/file" if text is not None else "/values/other", text or "")
    outcome = container.run(**variables)
    assert outcome.status == 78, outcome.text
    assert "PROSODY_ACCOUNTS" in outcome.errors
    assert expected in outcome.errors
