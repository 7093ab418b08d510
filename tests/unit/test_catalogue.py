from __future__ import annotations

import html
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from scripts import catalogue, modules, paths, toolset
from scripts.catalogue import Catalogue, Peer, Section, Variable, editor, example, page, table
from scripts.catalogue.__main__ import main, outputs
from scripts.errors import CatalogueError, StaleError
from tests.unit.conftest import Checkout
from tests.unit.test_modules import HOSTILE

LUA = paths.IMAGES / "rootfs/usr/local/lib/prosody-container"
SCHEMA = json.loads((paths.SCHEMA / "environment.schema.json").read_text())

# The names that each image documents, or reads without documenting them; written down from its own sources.
PEERS = {
    "official": """
        DOMAIN LOCAL PASSWORD
        PROSODY_ADMINS PROSODY_PLUGIN_PATHS PROSODY_ENABLE_MODULES PROSODY_DISABLE_MODULES
        PROSODY_TURN_SECRET PROSODY_TURN_HOST PROSODY_TURN_PORT PROSODY_TURN_TLS_PORT
        PROSODY_RETENTION_DAYS PROSODY_ARCHIVE_EXPIRY_DAYS PROSODY_DNS_RESOLVERS PROSODY_USE_DANE
        PROSODY_S2S_SECURE_AUTH PROSODY_C2S_RATE_LIMIT PROSODY_S2S_RATE_LIMIT
        PROSODY_STORAGE PROSODY_SQL_DRIVER PROSODY_SQL_DB PROSODY_SQL_HOST PROSODY_SQL_USERNAME PROSODY_SQL_PASSWORD
        PROSODY_LOGLEVEL PROSODY_STATISTICS PROSODY_STATISTICS_INTERVAL PROSODY_CERTIFICATES
        PROSODY_VIRTUAL_HOSTS PROSODY_NETWORK_HOSTNAME PROSODY_COMPONENTS PROSODY_MUC_MODULES
        PROSODY_UPLOAD_EXPIRY_DAYS PROSODY_UPLOAD_LIMIT_MB PROSODY_UPLOAD_STORAGE_GB
        PROSODY_EXTERNAL_COMPONENTS PROSODY_COMPONENT_SECRET PROSODY_EXTRA_CONFIG
    """,
    "sarasmiseth": """
        DOMAIN DOMAIN_HTTP_UPLOAD DOMAIN_MUC DOMAIN_PROXY DOMAIN_PUBSUB LOCAL PASSWORD PROSODY_ADMINS
        ALLOW_REGISTRATION C2S_REQUIRE_ENCRYPTION S2S_REQUIRE_ENCRYPTION S2S_SECURE_AUTH AUTHENTICATION
        LDAP_BASE LDAP_SERVER LDAP_ROOTDN LDAP_PASSWORD LDAP_FILTER LDAP_SCOPE LDAP_TLS LDAP_MODE LDAP_ADMIN_FILTER
        LOG_LEVEL DB_DRIVER DB_DATABASE DB_HOST DB_PORT DB_USERNAME DB_PASSWORD
        HTTP_MAX_CONTENT_SIZE HTTP_FILE_SHARE_EXPIRES_AFTER HTTP_FILE_SHARE_SIZE_LIMIT HTTP_FILE_SHARE_DAILY_QUOTA
        E2E_POLICY_CHAT E2E_POLICY_MUC E2E_POLICY_WHITELIST
        E2E_POLICY_MESSAGE_OPTIONAL_CHAT E2E_POLICY_MESSAGE_REQUIRED_CHAT
        E2E_POLICY_MESSAGE_OPTIONAL_MUC E2E_POLICY_MESSAGE_REQUIRED_MUC
        SERVER_CONTACT_INFO_ABUSE SERVER_CONTACT_INFO_ADMIN SERVER_CONTACT_INFO_FEEDBACK SERVER_CONTACT_INFO_SALES
        SERVER_CONTACT_INFO_SECURITY SERVER_CONTACT_INFO_SUPPORT
    """,
    "tobi312": "TZ SELECT_COMMUNITY_MODULES ENABLE_CONFD ENABLE_MODULE_PATHS LOCAL DOMAIN PASSWORD",
    "opusvl": """
        PROSODY_LOG_LEVEL PROSODY_MODULES_AVAILABLE PROSODY_MODULES_ENABLED PROSODY_MODULES_DISABLED
        PROSODY_DEFAULT_STORAGE PROSODY_STORAGE_<store> PROSODY_NETWORK_BACKEND PROSODY_ALLOW_REGISTRATION
        PROSODY_C2S_REQUIRE_ENCRYPTION PROSODY_S2S_REQUIRE_ENCRYPTION PROSODY_S2S_SECURE_AUTH
        PROSODY_S2S_INSECURE_DOMAINS PROSODY_S2S_SECURE_DOMAINS
        PROSODY_DB_DRIVER PROSODY_DB_NAME PROSODY_DB_HOST PROSODY_DB_PORT PROSODY_DB_USERNAME PROSODY_DB_PASSWORD
        PROSODY_AUTHENTICATION PROSODY_ARCHIVE_EXPIRES_AFTER PROSODY_EXTRA_CFG PROSODY_ENABLE_DEFAULT_VIRTUALHOST
        PROSODY_DEFAULT_VIRTUALHOST PROSODY_CONFIGDIR
        PROSODY_IMPORT_CERTIFICATE_HOSTNAMES PROSODY_IMPORT_CERTIFICATE_DIRECTORIES
    """,
    "jitsi": """
        XMPP_DOMAIN XMPP_MUC_DOMAIN PROSODY_ADMINS LDAP_BASE LDAP_BINDDN LDAP_BINDPW JWT_APP_SECRET
        JWT_ASAP_KEYSERVER JWT_SIGN_TYPE JWT_APP_ID JWT_ACCEPTED_ISSUERS JWT_ACCEPTED_AUDIENCES
        JWT_ALLOW_EMPTY JWT_ENABLE_DOMAIN_VERIFICATION PROSODY_C2S_REQUIRE_ENCRYPTION PROSODY_ENABLE_S2S
        ENABLE_IPV6 XMPP_PORT PROSODY_S2S_PORT PROSODY_HTTP_PORT PROSODY_C2S_LIMIT PROSODY_S2S_LIMIT
        XMPP_MUC_MODULES PUBLIC_URL PROSODY_TRUSTED_PROXIES GLOBAL_MODULES LOG_LEVEL
        PROSODY_METRICS_ALLOWED_CIDR MAX_PARTICIPANTS XMPP_AUTH_DOMAIN XMPP_GUEST_DOMAIN
        XMPP_INTERNAL_MUC_DOMAIN XMPP_RECORDER_DOMAIN ENABLE_AUTH ENABLE_GUESTS PROSODY_AUTH_TYPE
        PROSODY_MODE JICOFO_AUTH_USER JICOFO_AUTH_PASSWORD JVB_AUTH_USER JVB_AUTH_PASSWORD JIGASI_XMPP_USER
        JIGASI_XMPP_PASSWORD JIBRI_XMPP_USER JIBRI_XMPP_PASSWORD JIBRI_RECORDER_USER JIBRI_RECORDER_PASSWORD
        JIGASI_TRANSCRIBER_USER JIGASI_TRANSCRIBER_PASSWORD JICOFO_COMPONENT_SECRET XMPP_MODULES
        XMPP_INTERNAL_MUC_MODULES XMPP_LOBBY_MUC_MODULES XMPP_BREAKOUT_MUC_MODULES XMPP_SPEAKERSTATS_MODULES
        ENABLE_XMPP_WEBSOCKET ENABLE_LOBBY ENABLE_BREAKOUT_ROOMS ENABLE_AV_MODERATION ENABLE_END_CONFERENCE
        ENABLE_SUBDOMAINS DISABLE_POLLS ENABLE_RECORDING ENABLE_TRANSCRIPTIONS PROSODY_ENABLE_RATE_LIMITS
        PROSODY_DISABLE_C2S_LIMIT STUN_HOST STUN_PORT TURN_HOST TURN_PORT TURN_TRANSPORT TURNS_HOST
        TURNS_PORT TURN_TTL TURN_CREDENTIALS TURN_USERNAME TURN_PASSWORD GC_TYPE GC_INC_TH GC_INC_SPEED TZ
    """,
}
COUNTS = {"official": 38, "sarasmiseth": 46, "tobi312": 7, "opusvl": 27, "jitsi": 81}

# Turns what it is given into JSON in which nothing is lost: texts as their bytes, floats as their bits.
DUMP = """
local function dump(value)
	local kind = math.type(value) or type(value)
	if kind == "string" then
		return '{"text": "' .. value:gsub(".", function(c) return ("%02x"):format(c:byte()) end) .. '"}'
	elseif kind == "float" then
		return ('{"float": "%a"}'):format(value)
	elseif kind ~= "table" then
		return tostring(value)
	end
	local items = {}
	for index, item in ipairs(value) do items[index] = dump(item) end
	if #items > 0 then return "[" .. table.concat(items, ",") .. "]" end
	for key, item in pairs(value) do items[#items + 1] = "[" .. dump(key) .. "," .. dump(item) .. "]" end
	return '{"map": [' .. table.concat(items, ",") .. "]}"
end
"""

# The image's own way from an environment, one NAME=value a line, to values and problems.
READ = """
local environment, types = require "container.environment", require "container.types"
local set, names = {}, {}
for line in io.lines(arg[1]) do
	local name, text = line:match("^([^=]+)=(.*)$")
	set[name], names[#names + 1] = text, name
end
local source = { get = function(name) return set[name] end, names = names }
local result, problems = environment.read(source, require "container.catalogue", types.new())
for _, problem in ipairs(problems) do print("problem", problem) end
for name, origin in pairs(result.origins) do print(origin, name) end
for _, other in ipairs(result.others) do print(other.origin, other.name) end
"""


def run_lua(program: str, *arguments: str) -> str:
    """What the locked Lua 5.4 prints when it runs `program`, with the modules of the image."""
    done = subprocess.run(
        [*toolset.unpack("lua").command("usr/bin/lua5.4"), "-", *arguments],
        input=program.encode("utf-8"),
        env=os.environ | {"LUA_PATH": f"{LUA}/?.lua"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def undumped(value: Any) -> Any:
    if isinstance(value, list):
        return [undumped(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "text" in value:
        return bytes.fromhex(value["text"]).decode()
    if "float" in value:
        return float.fromhex(value["float"])
    return {undumped(key): undumped(item) for key, item in value["map"]}


def lua_value(expression: str) -> Any:
    """What an expression is to Lua, without any global."""
    source = modules.lua_string(f"return {expression}")
    return undumped(json.loads(run_lua(f'{DUMP}print(dump(assert(load({source}, "=it", "t", {{}}))()))')))


def plain(value: Any) -> Any:
    """A value as Lua has it: one kind of list."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return catalogue.load()


# ---- What is in the catalogue


def test_there_are_enough_variables_of_our_own(shipped: Catalogue) -> None:
    own = [variable for variable in shipped.variables if variable.name.startswith("PROSODY_")]
    assert len(own) >= 180


@pytest.mark.parametrize("peer", PEERS)
def test_every_variable_of_another_image_is_there_once(shipped: Catalogue, peer: str) -> None:
    expected = PEERS[peer].split()
    assert len(expected) == len(set(expected)) == COUNTS[peer]
    found = [variable.peers[peer] for variable in shipped.variables if peer in variable.peers]
    assert sorted(found) == sorted(expected)


def test_there_are_five_other_images(shipped: Catalogue) -> None:
    assert shipped.peers.keys() == PEERS.keys() == COUNTS.keys()


def test_every_entry_says_what_it_is(shipped: Catalogue) -> None:
    for variable in shipped.variables:
        entry = variable.entry
        assert {"type", "example", "meaning"} <= entry.keys(), variable.name
        assert entry["meaning"].endswith((".", "…")), variable.name
        if variable.options and variable.options[0].split(".")[0] in ("name", "http_external_url", "component_secret"):
            assert "scope" in entry, f"{variable.name}: an option of sections"


def test_every_module_that_is_named_is_in_the_image(shipped: Catalogue) -> None:
    # These are loaded by an option or by themselves, so nobody enables them.
    known = {module.name for module in modules.load()} | {
        "auth_anonymous", "auth_internal_hashed", "auth_ldap", "auth_sql", "authz_internal", "container_components",
        "container_health", "container_onion", "container_web", "http_errors", "muc", "pubsub", "register",
        "storage_sql",
    }  # fmt: skip
    entries = [variable.entry for variable in shipped.variables]
    named = {entry[key] for entry in entries for key in ("module", "enables") if key in entry}
    assert len(named) > 40
    assert named - known == set()


def test_what_turns_a_module_on_has_something_to_turn(shipped: Catalogue) -> None:
    assert [each.name for each in shipped.variables if "enables" in each.entry and not each.options] == []
    assert [each.name for each in shipped.variables if {"enables", "module"} <= each.entry.keys()] == []


def test_the_image_accepts_every_example_and_default(shipped: Catalogue, tmp_path: Path) -> None:
    """By its own reading, all at once; JSON needs Prosody's library and is tried below."""
    variables = {variable.instance: variable for variable in shipped.variables if variable.entry["type"] != "json"}
    (tmp_path / "environment").write_text(
        "".join(f"{name}={variable.entry['example']}\n" for name, variable in variables.items())
    )
    lines = run_lua(READ, str(tmp_path / "environment")).splitlines()
    assert [line for line in lines if line.startswith("problem")] == []
    assert {line.split("\t")[1] for line in lines if line.startswith("environment\t")} == variables.keys()


def test_the_image_reads_every_default(shipped: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("DOMAIN=chat.example\n")
    lines = run_lua(READ, str(tmp_path / "environment")).splitlines()
    assert [line for line in lines if line.startswith("problem")] == []
    read = {line.split("\t")[1] for line in lines}
    assert {variable.name for variable in shipped.variables if "default" in variable.entry} <= read


def test_an_example_that_is_wrong_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("PROSODY_C2S_TIMEOUT=soon\n")
    assert "problem\tPROSODY_C2S_TIMEOUT" in run_lua(READ, str(tmp_path / "environment"))


def test_every_example_of_json_is_json(shipped: Catalogue) -> None:
    kinds = {"array": list, "object": dict, None: object}
    found = [variable for variable in shipped.variables if variable.entry["type"] == "json"]
    assert len(found) > 5
    for variable in found:
        value = json.loads(variable.entry["example"])
        assert isinstance(value, kinds[variable.entry.get("of")]), variable.name


# ---- The file that people write

VALID = """\
since: "1.0"
peers:
  other: {title: Other, about: another image}
sections:
  - title: First
    about: One.
    variables:
      PROSODY_ONE:
        type: string
        example: one
        meaning: The first one.
        peers: {other: ONE}
  - title: Second
    about: Two.
    variables:
      PROSODY_TWO:
        type: boolean
        fallback: PROSODY_ONE
        default: "false"
        example: "true"
        meaning: The second one.
"""


def refusal(folder: Path, text: str) -> list[str]:
    """The lines of the error, without the folder."""
    path = folder / "environment.yaml"
    path.write_text(text)
    with pytest.raises(CatalogueError) as caught:
        catalogue.load(path)
    return [line.strip().removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


def test_all_that_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "environment.yaml").write_text(VALID)
    found = catalogue.load(tmp_path / "environment.yaml")
    assert found.peers == {"other": Peer("Other", "another image")}
    assert [(section.title, section.about) for section in found.sections] == [("First", "One."), ("Second", "Two.")]
    one, two = found.variables
    assert (one.names, one.options, one.is_secret, one.usual) == (("PROSODY_ONE", "ONE"), (), False, None)
    assert (two.names, two.entry["fallback"], two.usual, two.risky) == (("PROSODY_TWO",), "PROSODY_ONE", "false", True)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("about: Two.", "about: [", ["16:18: not valid YAML"], id="not YAML"),
        pytest.param(
            "type: string",
            "type: strin",
            ["9:9: sections[0].variables.PROSODY_ONE.type: 'strin' is not known; allowed: accounts"],
            id="wrong type",
        ),
        pytest.param(
            "example: one",
            "example: 1",
            ["10:9: sections[0].variables.PROSODY_ONE.example: must be a string, not 1"],
            id="number for a text",
        ),
        pytest.param(
            "example: one",
            "exmaple: one",
            [
                "8:7: sections[0].variables.PROSODY_ONE: missing: example",
                "10:9: sections[0].variables.PROSODY_ONE.exmaple: unknown key; allowed: ",
            ],
            id="unknown key",
        ),
        pytest.param(
            "PROSODY_TWO:",
            "PROSODY_ONE:",
            ["16:7: sections[1].variables.PROSODY_ONE: PROSODY_ONE is a name of PROSODY_ONE already"],
            id="a name twice",
        ),
        pytest.param(
            'default: "false"',
            'peers: {other: ONE}',
            ["19:17: sections[1].variables.PROSODY_TWO.peers.other: ONE is a name of PROSODY_ONE already"],
            id="a name of another image twice",
        ),
        pytest.param(
            "PROSODY_TWO:",
            "ONE_FILE:",
            ["16:7: sections[1].variables.ONE_FILE: ONE_FILE is the file of ONE already"],
            id="the name of a file",
        ),
        pytest.param(
            "peers: {other: ONE}",
            "fallback: PROSODY_TWO",
            ["12:9: sections[0].variables.PROSODY_ONE.fallback: refers to PROSODY_TWO, which is not a variable"],
            id="further down",
        ),
        pytest.param(
            'default: "false"',
            "default: x${PROSODY_ONF}${PROSODY_TWO}",
            [
                (
                    "19:9: sections[1].variables.PROSODY_TWO.default: refers to PROSODY_ONF, which is not a variable"
                    " further up; did you mean 'PROSODY_ONE'?"
                ),
                "19:9: sections[1].variables.PROSODY_TWO.default: refers to PROSODY_TWO, which is not a variable",
            ],
            id="nowhere, and itself",
        ),
        pytest.param(
            'default: "false"',
            "default: ${ONE}",
            ["19:9: sections[1].variables.PROSODY_TWO.default: refers to ONE, which is not a variable further up"],
            id="by a name of another image",
        ),
        pytest.param(
            "{other: ONE}",
            "{othre: ONE}",
            [
                (
                    "12:17: sections[0].variables.PROSODY_ONE.peers.othre: othre is not among the peers at the top of"
                    " the file; did you mean 'other'?"
                )
            ],
            id="unknown peer",
        ),
        pytest.param("type: string", "type: list", ["8:7: sections[0].variables.PROSODY_ONE: missing: of"], id="list"),
        pytest.param(
            "type: string",
            "type: map",
            ["8:7: sections[0].variables.PROSODY_ONE: missing: keys, of"],
            id="map",
        ),
        pytest.param(
            "type: string", "type: enum", ["8:7: sections[0].variables.PROSODY_ONE: missing: allowed"], id="choice"
        ),
        pytest.param(
            "type: string",
            "type: {of: host}",
            ["9:9: sections[0].variables.PROSODY_ONE.type: {'of': 'host'} is not known; allowed: accounts"],
            id="type that is a mapping",
        ),
        pytest.param(
            "type: string",
            "type: json\n        of: host",
            ["10:9: sections[0].variables.PROSODY_ONE.of: 'host' is not known; allowed: array, object"],
            id="kind of JSON",
        ),
        pytest.param(
            "meaning: The first one.",
            "meaning: |\n          The first one.\n          And more.",
            ["11:9: sections[0].variables.PROSODY_ONE.meaning: must be one line of printable characters"],
            id="two lines",
        ),
        pytest.param(
            "about: One.",
            'about: "One.\\e"',
            ["6:5: sections[0].about: must be one line of printable characters"],
            id="control character",
        ),
        pytest.param(
            "title: Second", "title: First", ["13:5: sections[1].title: there is another section 'First'"], id="section"
        ),
        pytest.param(
            "meaning: The first one.",
            "meaning: The first one.\n        risk: it falls",
            ["12:9: sections[0].variables.PROSODY_ONE.risk: is for booleans whose default or unset is true or false"],
            id="risk of a text",
        ),
        pytest.param(
            "PROSODY_TWO:",
            "PROSODY_TWO_<NAME>:",
            ["16:7: sections[1].variables.PROSODY_TWO_<NAME>.instance: must be a name that begins with PROSODY_TWO_"],
            id="family without an instance",
        ),
        pytest.param(
            "type: string",
            "instance: PROSODY_ONE\n        type: string",
            ["9:9: sections[0].variables.PROSODY_ONE.instance: is for names with a < only"],
            id="instance of no family",
        ),
        pytest.param(
            "type: string",
            "type: integer\n        minimum: -.inf\n        maximum: .nan",
            [
                "10:9: sections[0].variables.PROSODY_ONE.minimum: -inf is too great",
                "11:9: sections[0].variables.PROSODY_ONE.maximum: nan is too great",
            ],
            id="numbers without end",
        ),
        pytest.param(
            "PROSODY_TWO:",
            "PROSODY__TWO:",
            ["16:7: sections[1].variables.PROSODY__TWO: 'PROSODY__TWO' does not match"],
            id="a name that means a host",
        ),
        pytest.param(VALID, "", ["1:1: missing: since, peers, sections"], id="empty"),
        pytest.param(VALID, "[]", ["1:1: must be a mapping, not []"], id="a list"),
    ],
)  # fmt: skip
def test_every_problem_is_told_with_its_place(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    assert old in VALID
    title, *problems = refusal(tmp_path, VALID.replace(old, new, 1))
    assert title == f"{len(expected)} problem{'s'[: len(expected) > 1]} in the catalogue of variables:"
    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(f"environment.yaml:{start}")


def test_a_missing_file_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"There is no catalogue of variables at .*none\.yaml"):
        catalogue.load(tmp_path / "none.yaml")


# ---- The table for Lua


def test_lua_reads_the_catalogue_as_it_was_written(shipped: Catalogue) -> None:
    text = run_lua(f'{DUMP}print(dump(require "container.catalogue"))')
    assert undumped(json.loads(text)) == [plain(table.fields_of(variable)) for variable in shipped.variables]


def test_the_table_has_what_the_image_needs_and_no_more(shipped: Catalogue) -> None:
    needless = {"meaning", "note", "example", "unset", "since", "peers", "instance"}
    known = set(SCHEMA["$defs"]["variable"]["properties"]) - needless | {"name", "aliases", "values", "risky"}
    found = {key for variable in shipped.variables for key in table.fields_of(variable)}
    assert found == known


def test_no_text_can_leave_its_literal() -> None:
    hostile = {HOSTILE: [HOSTILE, {"]] } os.exit(1) --": HOSTILE}], "end": "}"}
    assert lua_value(table.literal(hostile)) == hostile


def typed(value: Any) -> Any:
    """A value in which 1, 1.0 and true differ, and so do 0.0 and -0.0."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    return [typed(item) for item in value] if isinstance(value, list) else repr(value)


numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(texts, inner, min_size=1, max_size=4),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(values, min_size=1, max_size=20))
def test_every_literal_means_to_lua_what_was_meant(meant: list[Any]) -> None:
    assert typed(lua_value(table.literal(meant))) == typed(meant)


def test_a_value_that_lua_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="no Lua literal for None"):
        table.literal({"key": None})


# ---- The page, the example file and the schema


RISK = {"type": "boolean", "risk": "it falls"}


def invented(**changes: Any) -> Catalogue:
    """A catalogue of one variable."""
    entry = {"type": "string", "example": "x", "meaning": "Some meaning."} | changes
    variable = Variable("PROSODY_IT", entry)
    return Catalogue((Section("First", "One.", (variable,)),), {"other": Peer("Other", "made for iOS, by A. B")})


def rendered(markdown: str) -> str:
    found: str = MarkdownIt("commonmark").enable("table").render(markdown)
    return found


def tables(markdown: str) -> Iterator[list[list[str]]]:
    """The cells of each table as they are shown, in HTML."""
    for found in re.findall(r"<tbody>(.*?)</tbody>", rendered(markdown), re.DOTALL):
        yield [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", found, re.DOTALL)]


def shown(cell: str) -> str:
    """What people see of a cell."""
    return html.unescape(re.sub(r"<(?!br)[^>]*>", "", cell))


def test_the_page_has_every_name_in_a_full_row(shipped: Catalogue) -> None:
    found = list(tables(page.text(shipped)))
    assert len(found) == len(shipped.sections) + len(shipped.peers)
    for section, rows in zip(shipped.sections, found, strict=False):
        assert [shown(row[0]).split("<br>") for row in rows] == [list(each.names) for each in section.variables]
        for row in rows:
            assert len(row) == 6
            assert all(shown(cell) for cell in row), row[0]
    for peer, rows in zip(PEERS, found[len(shipped.sections) :], strict=True):
        assert sorted(shown(row[0]) for row in rows) == sorted(PEERS[peer].split())


def test_the_page_shows_each_text_as_it_was_written(shipped: Catalogue) -> None:
    rows = [row for found in list(tables(page.text(shipped)))[: len(shipped.sections)] for row in found]
    for variable, row in zip(shipped.variables, rows, strict=True):
        for key in ("meaning", "note", "risk", "example"):
            assert variable.entry.get(key, "").replace("`", "") in shown(row[5]), variable.name
        assert variable.entry.get("unset", "").replace("`", "") in shown(row[2])


def test_the_page_links_to_places_that_exist(shipped: Catalogue) -> None:
    shown_page = rendered(page.text(shipped))
    targets = set(re.findall(r'href="#([^"]+)"', shown_page))
    headings = {page.slug(title) for title in re.findall(r"<h[1-6]>(.*?)</h[1-6]>", shown_page)}
    anchors = re.findall(r'<a id="([^"]+)">', shown_page)
    assert len(anchors) == len(set(anchors)) == len(shipped.variables)
    assert targets <= headings | set(anchors)
    assert {page.anchor(variable) for variable in shipped.variables if variable.peers} <= targets
    assert {page.slug(section.title) for section in shipped.sections} <= targets


@pytest.mark.parametrize(
    "hostile",
    ["a | b", "<b>*bold*</b> <!-- x", "*one* and image/*, b/*", "[a](b) \\| \\", "a``b` | `c", "&lt; _a_"],
)
def test_no_text_can_leave_its_cell(hostile: str) -> None:
    texts = {"meaning": hostile.replace("`", ""), "unset": hostile.replace("`", ""), "note": "x", "example": hostile}
    (cells,) = next(tables(page.text(invented(**texts))))
    assert len(cells) == 6
    assert shown(cells[2]) == texts["unset"]
    assert shown(cells[5]) == f"{texts['meaning']}<br>x<br>Example: {hostile}"


def test_a_lone_backtick_is_one() -> None:
    (cells,) = next(tables(page.text(invented(meaning="A `a|b` and PROSODY_B_ and a ` alone."))))
    assert cells[5].startswith("A <code>a|b</code> and <code>PROSODY_B_</code> and a ` alone.<br>")


@pytest.mark.parametrize(
    ("changes", "column", "expected"),
    [
        ({"type": "list", "of": "port", "none": True}, 1, "list: port, or none"),
        ({"type": "map", "keys": "string", "of": "enum", "allowed": ["a", "b"]}, 1, "list: text:a | b"),
        ({"type": "map", "keys": "jid", "of": "role", "separator": "="}, 1, "list: address=role"),
        ({"type": "enum", "allowed": {"true": False, "x": "y"}}, 1, "true | x"),
        ({"type": "json", "of": "array", "secret": True}, 1, "JSON list, secret"),
        ({"type": "seconds", "words": ["manual"]}, 1, "duration, or manual"),
        ({"type": "integer", "minimum": 1, "maximum": 9}, 1, "whole number, 1 to 9"),
        ({"type": "size", "minimum": 7}, 1, "size, at least 7"),
        ({"type": "number", "maximum": 7}, 1, "number, at most 7"),
        ({}, 2, "—"),
        ({"default": ""}, 2, "—"),
        ({"default": "5", "fallback": "PROSODY_B"}, 2, "PROSODY_B, else 5"),
        ({"fallback": "PROSODY_B"}, 2, "PROSODY_B"),
        ({"default": "5", "unset": "as `A` or PROSODY_B"}, 2, "as A or PROSODY_B"),
        ({}, 3, "server"),
        ({"scope": "host"}, 3, "host"),
        ({"scope": "muc"}, 3, "muc components"),
        ({"scope": "external"}, 3, "external components"),
        ({}, 4, "—"),
        ({"option": "a.b"}, 4, "a.b"),
        ({"option": ["a", "b"], "enables": "c"}, 4, "a, b of mod_c (loads it)"),
        ({"module": "c"}, 4, "mod_c"),
        ({"since": "1.1"}, 5, "Some meaning. Since 1.1.<br>Example: x"),
        ({**RISK, "default": "true"}, 5, "Some meaning.<br>Risk of false: it falls.<br>Example: x"),
        ({**RISK, "unset": "false"}, 5, "Some meaning.<br>Risk of true: it falls.<br>Example: x"),
        ({"note": "Not there."}, 5, "Some meaning.<br>Not there.<br>Example: x"),
    ],
)  # fmt: skip
def test_the_page_says_what_a_variable_is(changes: dict[str, Any], column: int, expected: str) -> None:
    (cells,) = next(tables(page.text(invented(**changes))))
    assert shown(cells[column]) == expected


def test_the_page_keeps_the_spelling_of_other_images() -> None:
    assert "\nMade for iOS, by A. B.\n" in page.text(invented())


def test_the_example_file_is_all_comment_until_somebody_wants_it(shipped: Catalogue) -> None:
    lines = example.text(shipped).splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    assert max(map(len, lines)) <= 120
    settable_lines = [line[1:] for line in lines if re.match(r"#\w+=", line)]
    assert settable_lines == [f"{each.instance}={each.entry['example']}" for each in shipped.variables]


def test_the_example_file_warns_of_risks() -> None:
    text = example.text(invented(**RISK, default="true"))
    assert "\n# Some meaning. Risk of false: it falls.\n#PROSODY_IT=x\n" in text


def container_environment(shipped: Catalogue) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(editor.schema(shipped))


def settable(variable: Variable) -> Iterator[str]:
    """Every name of a variable that can be set, families by one that they stand for."""
    end = variable.instance.removeprefix(variable.name.partition("<")[0])
    return (name.partition("<")[0] + end if variable.is_family else name for name in variable.names)


def test_editors_accept_every_name_with_its_example(shipped: Catalogue) -> None:
    validator = container_environment(shipped)
    count = 0
    for variable in shipped.variables:
        for name in settable(variable):
            valid: dict[str, Any] = {name: variable.entry["example"], f"{name}_FILE": "/run/secrets/it"}
            if "scope" in variable.entry:
                valid |= {f"{name}__CHAT_EXAMPLE": variable.entry["example"], f"{name}__CHAT_EXAMPLE_FILE": "/it"}
            for key, value in valid.items():
                assert [error.message for error in validator.iter_errors({key: value})] == [], key
                count += 1
    assert count > 1000


def test_editors_accept_every_name_in_one_file(shipped: Catalogue) -> None:
    container_environment(shipped).validate(
        {name: variable.entry["example"] for variable in shipped.variables for name in settable(variable)}
    )


@pytest.mark.parametrize(
    "name",
    [
        "PROSODY_DOMIAN", "PROSODY_DOMAINS", "PROSODY_DOMAIN_FILES", "PROSODY_LOGLEVEL__CHAT_EXAMPLE",
        "PROSODY_OPTION_", "PROSODY_DOMAIN__", "PROSODY_", "PROSODY_admins",
    ],
)  # fmt: skip
def test_editors_mark_a_slip(shipped: Catalogue, name: str) -> None:
    assert not container_environment(shipped).is_valid({name: "chat.example"})


@pytest.mark.parametrize("name", ["PATH", "LANG", "PROSODY_CONFIG", "MY_PROSODY_NAME"])
def test_editors_accept_what_is_not_ours(shipped: Catalogue, name: str) -> None:
    container_environment(shipped).validate({name: "/x"})


@pytest.mark.parametrize(
    ("name", "value", "is_valid"),
    [
        ("PROSODY_SQL_DRIVER", "postgresql", True),
        ("PROSODY_SQL_DRIVER", " PostgreSQL ", True),
        ("PROSODY_SQL_DRIVER", "", True),
        ("PROSODY_SQL_DRIVER", None, True),
        ("PROSODY_SQL_DRIVER", "${DRIVER:-SQLite3}", True),
        ("PROSODY_SQL_DRIVER", "Oracle", False),
        ("PROSODY_SQL_DRIVER", "xSQLite3", False),
        ("PROSODY_SQL_DRIVER", True, False),
        ("DB_DRIVER", "Oracle", False),
        ("PROSODY_SQL_DRIVER_FILE", "Oracle", True),
        ("PROSODY_SQL_DRIVER_FILE", 5, False),
        ("PROSODY_TCP_NODELAY", True, True),
        ("PROSODY_TCP_NODELAY", "maybe", False),
        ("PROSODY_STORAGE_ARCHIVE", "memory", True),
        ("PROSODY_STORAGE_archive", "paper", False),
        ("PROSODY_STORAGE_ARCHIVE_ITEM_LIMIT", 50000, True),
        ("PROSODY_STORAGE_ARCHIVE_ITEM_LIMIT__CHAT_EXAMPLE", 50000, True),
        ("PROSODY_STORAGE__CHAT_EXAMPLE", "paper", False),
        ("PROSODY_STORAGE__CHAT_EXAMPLE_FILE", "paper", True),
        ("PROSODY_OPTION_c2s_timeout__CHAT_EXAMPLE", 30, True),
        ("PROSODY_ADMINS", ["juliet@chat.example"], False),
    ],
)  # fmt: skip
def test_editors_know_what_the_image_accepts(shipped: Catalogue, name: str, value: object, is_valid: bool) -> None:
    assert container_environment(shipped).is_valid({name: value}) == is_valid


# ---- The command


def test_the_committed_files_are_fresh() -> None:
    main(["--check"])


@pytest.fixture
def generated(checkout: Checkout) -> Checkout:
    """A checkout with everything that is generated."""
    for name in ("docs", "deploy"):
        shutil.copytree(paths.ROOT / name, checkout.root / name)
    return checkout


def contents(root: Path) -> dict[str, bytes]:
    """Every generated file, and whatever else is beside it."""
    folders = {(root / path.relative_to(paths.ROOT)).parent for path in outputs()}
    return {str(path): path.read_bytes() for folder in folders for path in folder.iterdir() if path.is_file()}


def test_a_stale_file_is_shown_as_a_difference(generated: Checkout) -> None:
    assert generated.run("catalogue", "--check").returncode == 0
    generated.edit("images/environment.yaml", "meaning: Name of the room service.", "meaning: Name of the hall.")
    before = contents(generated.root)
    done = generated.run("catalogue", "--check")
    assert done.returncode == StaleError.exit_status == 18
    assert "\n--- docs/environment.md (committed)\n+++ docs/environment.md (generated)\n@@ " in done.stderr
    assert re.search(r"^-.*Name of the room service\.", done.stderr, re.MULTILINE)
    assert re.search(r"^\+.*Name of the hall\.", done.stderr, re.MULTILINE)
    assert "\n--- deploy/environment.env (committed)" in done.stderr
    assert "\n--- schema/container-environment.schema.json (committed)" in done.stderr
    assert "catalogue.lua" not in done.stderr, "no meaning is in there"
    assert done.stderr.endswith("\nWrite them again with: scripts/nox -s generate\n")
    assert contents(generated.root) == before
    assert generated.run("catalogue").returncode == 0
    assert generated.run("catalogue", "--check").returncode == 0


def test_what_is_missing_is_stale_and_made(generated: Checkout) -> None:
    shutil.rmtree(generated.root / "deploy")
    (generated.root / "docs/modules.md").unlink()
    done = generated.run("catalogue", "--check")
    assert done.returncode == 18
    assert "+++ deploy/environment.env (generated)\n@@ -1 +1," in done.stderr
    assert generated.run("catalogue").returncode == 0
    assert generated.run("catalogue", "--check").returncode == 0


def test_a_long_difference_is_cut_and_says_so(generated: Checkout) -> None:
    (generated.root / "docs/environment.md").write_text("")
    done = generated.run("catalogue", "--check")
    assert done.returncode == 18
    assert re.search(r"\n… and \d{3,} lines more\n", done.stderr)
    assert len(done.stderr.splitlines()) < 220


def test_a_broken_catalogue_changes_nothing(generated: Checkout) -> None:
    generated.edit("images/environment.yaml", "type: host", "type: hots")
    generated.edit("images/environment.yaml", "meaning: Name of the room service.", "meaning: Name of the hall.")
    before = contents(generated.root)
    for arguments in ([], ["--check"]):
        done = generated.run("catalogue", *arguments)
        assert done.returncode == CatalogueError.exit_status == 20
        assert re.search(r"\n  images/environment\.yaml:\d+:\d+: sections\[0\]\.variables\.DOMAIN\.type: ", done.stderr)
        assert "'hots' is not known" in done.stderr
        assert "did you mean 'host'?" in done.stderr
        assert "Traceback" not in done.stderr
    assert contents(generated.root) == before


def test_a_broken_catalogue_of_modules_changes_nothing_either(generated: Checkout) -> None:
    generated.edit("images/modules.yaml", "origin: prosody", "origin: prosdy")
    generated.edit("images/environment.yaml", "meaning: Name of the room service.", "meaning: Name of the hall.")
    before = contents(generated.root)
    assert generated.run("catalogue").returncode == 20
    assert contents(generated.root) == before


def test_a_file_is_replaced_whole_or_not_at_all(generated: Checkout) -> None:
    """A quota that ends in the middle of the largest file."""
    target = generated.root / "schema/container-environment.schema.json"
    old = b"old\n"
    target.write_bytes(old)
    limit = len(editor.text(catalogue.load()).encode()) // 2
    done = subprocess.run(
        [sys.executable, "-m", "scripts.catalogue"],
        cwd=generated.root, capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode != 0
    assert "File too large" in done.stderr
    assert target.read_bytes() == old
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(".")] == []


def test_who_reads_a_file_meanwhile_reads_the_old_one_to_its_end(generated: Checkout) -> None:
    target = generated.root / "docs/environment.md"
    target.write_text("old\n")
    with target.open() as reader:
        assert generated.run("catalogue").returncode == 0
        assert reader.read() == "old\n"
    assert target.read_text() != "old\n"
    assert target.stat().st_mode & 0o444 == 0o444


def test_what_is_up_to_date_is_not_touched(generated: Checkout) -> None:
    before = {path: path.stat().st_mtime_ns for path in (generated.root / "docs").iterdir()}
    done = generated.run("catalogue")
    assert done.returncode == 0
    assert done.stderr.count(": up to date\n") == len(outputs())
    assert {path: path.stat().st_mtime_ns for path in (generated.root / "docs").iterdir()} == before
