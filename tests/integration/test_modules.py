"""Every module in the image is loaded in a running server, and found as images/modules.yaml says it is."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from scripts import modules
from scripts.modules import Module
from tests.integration.containers import LoadedImage
from tests.integration.servers import DOMAIN, Server

ROOMS = f"conference.{DOMAIN}"
PUBSUB = f"pubsub.{DOMAIN}"
PLACES = {"host": DOMAIN, "muc": ROOMS, "component": PUBSUB, "global": "*"}

CATALOGUE = {module.name: module for module in modules.load()}

# Values, in Lua, for every option that some module does not load without.
OPTIONS: Mapping[str, str] = {
    "app_secret": '"a secret of thirty-two characters"',
    "auth_ha1_file": '"/dev/null"',
    "dnsbls": '{ "dnsbl.example" }',
    "forgejo_secret": '"secret"',
    "http_files_dir": '"/usr/share"',
    "http_upload_external_base_url": '"https://files.example/"',
    "http_upload_external_secret": '"secret"',
    "insecure_open_authentication": '"Yes please, I know what I\'m doing!"',
    "ldap": '{ hostname = "ldap.example", user = {}, groups = {} }',
    "ldap_base": '"dc=example"',
    "muc_rtbls": '{ "xmpp:list.example?;node=banned" }',
    "oauth_client_id": '"client"',
    "oauth_client_secret": '"secret"',
    "oauth_url": '"https://127.0.0.1:1/{{password}}"',
    "server_status_show_hosts": f'{{ "{DOMAIN}" }}',
    "target_address": f'"focus@{DOMAIN}"',
    "turn_external_secret": '"secret"',
    "turncredentials_host": '"turn.example"',
    "turncredentials_secret": '"secret"',
}
# The rest of a useful configuration.
OTHER_OPTIONS: Mapping[str, str] = {
    "external_services": '{ { type = "stun", host = "stun.example", port = 3478, transport = "udp" } }',
    "muc_restrict_allow_admins": "true",
    "muc_restrict_exceptions": '{ "staff-party" }',
    "muc_restrict_matching": '{ ["^staff"] = "for the staff" }',
    # Any list in JSON will do, as long as no network is needed to fetch it.
    "pubsub_serverinfo_public_providers_url": f'"http://{DOMAIN}:5280/.well-known/host-meta.json"',
    "pubsub_serverinfo_service": f'"{PUBSUB}"',
}

# LuaSocket's library asks for globals of Lua 5.1 when it is first used, and makes do without.
HARMLESS = re.compile(r"non-existent global '\w+'\s+stack traceback:\s+/usr/share/lua/5\.4/ltn12\.lua:")
# Modules with errors when they are unloaded. The page warns of them.
NOT_UNLOADABLE = {"pubsub_mqtt"}

# Loads modules, one after the other, and tells in the log how it went. What depends on the network, and what a module
# does once it is ready, takes another turn of the server's loop: therefore the short sleeps.
LOADER = r"""> (function (...)
    local async = require "prosody.util.async"
    local manager = require "prosody.core.modulemanager"
    local monotonic = require "prosody.util.time".monotonic
    local log = require "prosody.util.logger".init("modules")
    local function snapshot()
        local found = { ["*"] = {} }
        for name in pairs(manager.get_modules("*")) do found["*"][name] = true end
        for host in pairs(prosody.hosts) do
            found[host] = {}
            for name in pairs(manager.get_modules(host)) do found[host][name] = true end
        end
        return found
    end
    local before = snapshot()
    for _, pair in ipairs { ... } do
        local name, host = pair[1], pair[2]
        log("info", "begin %s", name)
        local loaded, result, reason = before[host][name] or before["*"][name], nil, nil
        local started = monotonic()
        if loaded then
            result = "already"
        else
            local ok, module, problem = pcall(manager.load, host, name)
            reason = not ok and module or problem
            result = ok and module and "loaded" or "failed"
        end
        local took = monotonic() - started
        async.sleep(0.05)
        local module = manager.get_module(host, name) or manager.get_module("*", name)
        local status = module and module.module:get_status() or "none"
        log("info", "end %s %s %d %s %s", name, result, math.floor(took * 1000), status,
            (tostring(reason or ""):gsub("%s+", " ")))
        for place, now in pairs(snapshot()) do
            for other in pairs(now) do
                if not before[place][other] then pcall(manager.unload, place, other) end
            end
        end
        async.sleep(0.02)
        log("info", "gone %s", name)
    end
    return "all done"
end)"""

# Asks Prosody's own loader which modules there are.
LISTING = r"""> (function ()
    local lfs = require "lfs"
    local loader = require "prosody.util.pluginloader"
    local found, names = {}, {}
    for folder in CFG_PLUGINDIR:gmatch("[^;]+") do
        if lfs.attributes(folder, "mode") == "directory" then
            for entry in lfs.dir(folder) do
                local name = entry:match("^mod_([%w_]+)%.lua$") or entry:match("^mod_([%w_]+)$") or entry:match("^%w+$")
                if name and loader.load_resource(name) then found[name] = true end
            end
        end
    end
    for name in pairs(found) do names[#names + 1] = name end
    return table.concat(names, " ")
end)()"""


@dataclass
class Record:
    """How the loading of one module went, and then its unloading."""

    result: str = "the server ended or hangs"
    milliseconds: int = 0
    status: str = "none"
    reason: str = ""
    complaints: list[str] = field(default_factory=list)
    farewell: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing at all is wrong."""
        return self.result in ("loaded", "already") and self.status not in ("warn", "error") and not self.complaints


def shell(server: Server, command: str) -> str:
    """What `prosodyctl shell` prints for one command."""
    line = " ".join(command.split("\n"))
    return server.execute("prosodyctl", "shell", line).text.strip()


@contextmanager
def serving(
    client: docker.DockerClient, image: LoadedImage, folder: Path, options: Mapping[str, str], level: str = "info"
) -> Iterator[Server]:
    """A server with a pubsub component and some options."""
    drop_in = folder / "modules.cfg.lua"
    lines = [f"{name} = {value}" for name, value in options.items()]
    # The host itself, as which pubsub_serverinfo speaks, may make nodes.
    component = [f'Component "{PUBSUB}" "pubsub"', f'admins = {{ "{DOMAIN}" }}', ""]
    drop_in.write_text("\n".join([*lines, *component]))
    drop_in.chmod(0o644)
    server = Server(
        client,
        image,
        {"PROSODY_DOMAIN": DOMAIN, "PROSODY_LOGLEVEL": level},
        options={"extra_hosts": {DOMAIN: "127.0.0.1"}},
        mounts={str(drop_in): {"bind": f"/etc/prosody/conf.d/{drop_in.name}", "mode": "ro"}},
    )
    try:
        server.start()
        yield server
    finally:
        server.remove()


def complaints_in(lines: Iterable[str]) -> list[str]:
    """The warnings and errors in lines of the log, each with the lines that belong to it."""
    found: list[str] = []
    is_open = False
    for line in lines:
        logged = re.match(r"\S+\s+(debug|info|warn|error)\s", line)
        if logged:
            is_open = logged[1] in ("warn", "error")
            found += [line] if is_open else []
        elif is_open:
            found[-1] += f"\n{line}"
    return [complaint for complaint in found if not HARMLESS.search(complaint)]


def records_in(log: str) -> tuple[list[str], dict[str, Record]]:
    """What was complained about before the first module, and how each module fared."""
    records: dict[str, Record] = {}
    parts = re.split(r"^modules\s+info\s+begin (\S+)$", log, flags=re.MULTILINE)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        end = re.search(rf"^modules\s+info\s+end {name} (\w+) (\d+) (\w+) ?(.*)$", text, re.MULTILINE)
        if end and f"gone {name}" in text:
            records[name] = Record(
                result=end[1],
                milliseconds=int(end[2]),
                status=end[3],
                reason=end[4],
                complaints=complaints_in(text[: end.start()].splitlines()),
                farewell=complaints_in(text[end.end() :].splitlines()),
            )
        else:
            records[name] = Record(complaints=complaints_in(text.splitlines()))
    return complaints_in(parts[0].splitlines()), records


def load_all(server: Server, wanted: Sequence[Module]) -> tuple[list[str], dict[str, Record]]:
    """Load each of the modules where it belongs; one that ends the server costs a restart and its own record."""
    before: list[str] = []
    records: dict[str, Record] = {}
    while todo := [module for module in wanted if module.name not in records]:
        some = todo[:40]
        pairs = ", ".join(f'{{ "{module.name}", "{PLACES[module.scope]}" }}' for module in some)
        output = shell(server, f"{LOADER}({pairs})")
        is_complete = "all done" in output
        if is_complete:
            server.wait_for(lambda name=some[-1].name: f"gone {name}" in server.log(), "the log is complete")  # type: ignore[misc]
        before, found = records_in(server.log())
        assert found.keys() - records.keys(), f"nothing was loaded: {output}\n{server.log()}"
        records |= found
        if not is_complete:
            server.restart()
    return before, records


@dataclass(frozen=True)
class Loaded:
    """What was seen of all modules in one server."""

    listed: frozenset[str]
    packages: Mapping[str, str]
    before: Sequence[str]
    records: Mapping[str, Record]
    seconds: float


@pytest.fixture(scope="module")
def loaded(client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """All modules of the catalogue, loaded with the options that they need."""
    with serving(client, image, tmp_path_factory.mktemp("modules"), {**OPTIONS, **OTHER_OPTIONS}) as server:
        listed = frozenset(shell(server, LISTING).removeprefix("Result: ").split())
        packages = {
            name: server.read(f"/var/lib/dpkg/status.d/{name}.md5sums").decode()
            for name in ("prosody", "prosody-modules")
        }
        started = time.monotonic()
        before, records = load_all(server, list(CATALOGUE.values()))
        return Loaded(listed, packages, before, records, time.monotonic() - started)


@pytest.fixture(scope="module")
def without_options(
    client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Record]:
    """The modules that are said to need options, loaded without any."""
    with serving(client, image, tmp_path_factory.mktemp("modules"), {}) as server:
        return load_all(server, [module for module in CATALOGUE.values() if module.options])[1]


def test_the_catalogue_names_the_modules_of_the_image(loaded: Loaded) -> None:
    assert {name for name in loaded.listed if not name.startswith("container_")} == set(CATALOGUE)


def test_the_catalogue_knows_where_each_module_comes_from(loaded: Loaded) -> None:
    for name, module in CATALOGUE.items():
        path = re.compile(rf"  usr/lib/prosody/modules/([\w/]+/)?mod_{name}\.lua$", re.MULTILINE)
        owners = {package for package, text in loaded.packages.items() if path.search(text)}
        # The image takes the one copy of mod_flags out that is not Prosody's own (variants/debian.yaml).
        expected = {"prosody", "prosody-modules"} if name == "flags" else {module.origin} - {"image"}
        assert owners == expected, name


def test_nothing_complains_before_a_module_is_loaded(loaded: Loaded) -> None:
    """Modules of the image's own configuration are loaded by then."""
    assert loaded.before == []


# What loads without a complaint and yet does not work: what to do with it, and what must come of it.
BROKEN_IN_USE: Mapping[str, tuple[Sequence[str], str]] = {
    "auth_oauthbearer": (
        [
            r"""> (function ()
                local module = require "prosody.core.modulemanager".get_module("HOST", "auth_oauthbearer").module
                local handler = module.items["auth-provider"][1].get_sasl_handler()
                handler:select("OAUTHBEARER")
                return (handler:process("n,a=alice@HOST,\1auth=Bearer the-token\1\1"))
            end)()"""
        ],
        rf"The URL is:  https://127\.0\.0\.1:1/{DOMAIN}",
    ),
    "broadcast": (
        ['> SEND("message", "alice@HOST/phone", "all@PUBSUB")'],
        r"usermanager\.lua:\d+: attempt to index a nil",
    ),
    "muc_activity": (
        ['muc:create("party@ROOMS")', 'muc:room("party@ROOMS"):destroy()'],
        r"mod_muc_activity\.lua:\d+: attempt to call a nil value \(method 'set_keys'\)",
    ),
    "muc_restrict_rooms": (
        ['> SEND("presence", "alice@HOST/phone", "staff-party@ROOMS/alice")'],
        r"mod_muc_restrict_rooms\.lua:\d+: attempt to index a nil value \((global|upvalue) 'usermanager'\)",
    ),
    "onions": (
        ['> SEND("message", "alice@HOST/phone", "bob@server.onion")'] * 2,
        r"mod_s2s\.lua:\d+: attempt to call a nil value \(method 'push'\)",
    ),
    "sasl_oauthbearer": (
        [
            r"""> (function ()
                local handler = require "prosody.util.sasl".new("HOST", {
                    oauthbearer = function (_, token) return token == "the-token" and "alice", true end;
                })
                handler:select("OAUTHBEARER")
                return (handler:process("n,a=alice@HOST,\1auth=Bearer the-token\1\1"))
            end)()"""
        ],
        r"Result: failure",
    ),
}


@pytest.mark.parametrize("module", CATALOGUE.values(), ids=CATALOGUE)
def test_a_module_loads_or_is_known_not_to(loaded: Loaded, module: Module) -> None:
    record = loaded.records[module.name]
    is_expected_to_load = not module.service and (not module.broken or module.name in BROKEN_IN_USE)
    assert record.is_clean == is_expected_to_load, record


@pytest.mark.parametrize("module", CATALOGUE.values(), ids=CATALOGUE)
def test_a_module_can_be_unloaded_or_the_page_warns(loaded: Loaded, module: Module) -> None:
    assert bool(loaded.records[module.name].farewell) == (module.name in NOT_UNLOADABLE)
    assert module.caution or module.name not in NOT_UNLOADABLE


@pytest.mark.parametrize("module", CATALOGUE.values(), ids=CATALOGUE)
def test_no_module_keeps_the_server_waiting(loaded: Loaded, module: Module) -> None:
    assert loaded.records[module.name].milliseconds < 1000


def test_loading_them_all_is_fast(loaded: Loaded) -> None:
    assert loaded.seconds < 120


@pytest.mark.parametrize("name", [name for name, module in CATALOGUE.items() if module.options])
def test_a_module_needs_the_options_it_is_said_to_need(without_options: Mapping[str, Record], name: str) -> None:
    assert not without_options[name].is_clean


def test_the_tests_know_a_value_for_every_option() -> None:
    assert {option for module in CATALOGUE.values() for option in module.options} == set(OPTIONS)


def run_broken(server: Server, name: str) -> str:
    """What is seen when a module that is broken only in use is used: the shell's answer and the new part of the log."""
    send = (
        '(function (kind, from, to) return prosody.core_post_stanza(prosody.hosts["HOST"],'
        ' require "prosody.util.stanza".stanza(kind, { from = from, to = to, type = kind == "message" and "chat" or nil'
        ' }):tag("body"):text("hello"):up()) end)'
    )
    output = ""
    for command in BROKEN_IN_USE[name][0]:
        text = command.replace("SEND", send).replace("HOST", DOMAIN).replace("ROOMS", ROOMS).replace("PUBSUB", PUBSUB)
        output += f"{shell(server, text)}\n"
    return output + server.log()


@pytest.mark.parametrize("name", BROKEN_IN_USE)
def test_a_broken_module_that_loads_is_broken_in_use(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, name: str
) -> None:
    module = CATALOGUE[name]
    assert module.broken
    with serving(client, image, tmp_path, {**OPTIONS, **OTHER_OPTIONS}, level="debug") as server:
        trouble = re.compile(BROKEN_IN_USE[name][1])
        assert not trouble.search(run_broken(server, name) if name != "auth_oauthbearer" else "")
        shell(server, f'module:load("{name}", "{PLACES[module.scope]}")')
        seen = run_broken(server, name)
        # The log of a container may come later than the answer of the shell.
        server.wait_for(lambda: bool(trouble.search(seen + server.log())), f"{trouble.pattern} is seen")


def test_a_rule_of_broken_restricted_rooms_fails_for_exceptions_too(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path
) -> None:
    """The other of its two broken options, and what is left of it: the patterns."""
    options = {**OTHER_OPTIONS, "muc_restrict_allow_admins": "false"}
    with serving(client, image, tmp_path, options) as server:
        shell(server, f'module:load("muc_restrict_rooms", "{ROOMS}")')
        assert "attempt to call a string value (local 'room')" in run_broken(server, "muc_restrict_rooms")
