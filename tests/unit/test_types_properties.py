"""Every type of container/types.lua against any text there can be: the value meant, or a clean refusal.

What is meant is said here once more, in Python and mostly with its libraries, so that a slip in Lua does not go unseen.
Texts are bytes, as in an environment.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import select
import string
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from scripts import paths, toolset

_HERE = Path(__file__).parent
_PATIENCE = 5.0  # seconds for a mebibyte, on a busy machine
_MARK = b"hunter2"  # part of every secret
set_hypothesis_home_dir(paths.SCRATCH / "hypothesis")
settings.register_profile("values", derandomize=True, deadline=None, database=None, max_examples=50)
PROFILE = settings.get_profile("values")

Specification = Mapping[str, Any]


class Refused(Exception):
    """The text is none of this type."""


class Failure(AssertionError):
    """The parser itself failed, ran something, or did not come to an end."""


class Parser:
    """A Lua process that parses one value after another; see parse_values.lua."""

    def __init__(self) -> None:
        modules = paths.IMAGES / "rootfs/usr/local/lib/prosody-container/?.lua"
        self._process = subprocess.Popen(
            [*toolset.unpack("lua").command("usr/bin/lua5.4"), str(_HERE / "parse_values.lua")],
            env=os.environ | {"LUA_PATH": f"{modules};;"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._buffer = b""

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def parse(self, specification: Specification, text: bytes) -> tuple[Any, bytes | None]:
        """The value, or None and what was expected."""
        answer = self._ask([specification, text])
        return answer.get(b"value"), answer.get(b"expected")

    def failure_of_pattern(self, pattern: bytes, subjects: list[bytes]) -> bytes | None:
        """The error that using a pattern raises, if it does."""
        answer = self._exchange([False, pattern, subjects])
        found: bytes | None = answer.get(b"failure")
        return found

    def _ask(self, question: object) -> dict[bytes, Any]:
        answer = self._exchange(question)
        if b"failure" in answer:
            raise Failure(answer[b"failure"].decode(errors="replace"))
        if b"globals" in answer:
            raise Failure(f"new global variables: {answer[b'globals']}")
        return answer

    def _exchange(self, question: object) -> dict[bytes, Any]:
        assert self._process.stdin is not None
        deadline = time.monotonic() + _PATIENCE
        self._process.stdin.write(b"".join(_written(question)))
        self._process.stdin.flush()
        answer = self._read(deadline)
        assert isinstance(answer, dict)
        return answer

    def _take(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            self._fill(deadline)
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _take_until(self, stop: bytes, deadline: float) -> bytes:
        while stop not in self._buffer:
            self._fill(deadline)
        taken, self._buffer = self._buffer.split(stop, 1)
        return taken

    def _fill(self, deadline: float) -> None:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            self.stop()
            raise Failure(f"no answer within {_PATIENCE:.0f} s")
        chunk = os.read(self._process.stdout.fileno(), 1 << 20)
        if not chunk:
            raise Failure(f"Lua ended with status {self._process.wait()}")
        self._buffer += chunk

    def _read(self, deadline: float) -> Any:
        kind = self._take(1, deadline)
        if kind in b"ntf":
            return {b"n": None, b"t": True, b"f": False}[kind]
        if kind == b"s":
            return self._take(int(self._take_until(b":", deadline)), deadline)
        digits = self._take_until(b";", deadline)
        if kind in b"id":
            return int(digits) if kind == b"i" else float(digits)
        if kind == b"l":
            return [self._read(deadline) for _ in range(int(digits))]
        assert kind == b"m", kind
        return {self._read(deadline): self._read(deadline) for _ in range(int(digits))}


def _written(value: object) -> Iterator[bytes]:
    if isinstance(value, bool):
        yield b"t" if value else b"f"
    elif isinstance(value, int):
        yield b"i%d;" % value
    elif isinstance(value, float):
        yield f"d{value!r};".encode()
    elif isinstance(value, str):
        yield from _written(value.encode())
    elif isinstance(value, bytes):
        yield b"s%d:" % len(value)
        yield value
    elif isinstance(value, list):
        yield b"l%d;" % len(value)
        for item in value:
            yield from _written(item)
    else:
        assert isinstance(value, dict), value
        yield b"m%d;" % len(value)
        for key, item in value.items():
            yield from _written(key)
            yield from _written(item)


class Shared:
    """One process for all tests; a new one after a failure."""

    parser: Parser | None = None

    def get(self) -> Parser:
        if self.parser is None:
            self.parser = Parser()
        return self.parser

    def forget(self) -> None:
        if self.parser is not None:
            self.parser.stop()
        self.parser = None


_shared = Shared()


@pytest.fixture(scope="module", autouse=True)
def _parser() -> Iterator[None]:
    yield
    _shared.forget()


def parse(specification: Specification, text: bytes) -> tuple[Any, bytes | None]:
    """The value, or None and what was expected; either of them, never both."""
    try:
        value, expected = _shared.get().parse(specification, text)
    except BaseException:
        _shared.forget()
        raise
    if value is None:
        assert expected, "refused without a reason"
        assert not re.search(rb"[\x00-\x1f\x7f]", expected), expected
        expected.decode()
    return value, expected


# ---- What texts mean

_BLANKS = b" \t\n\v\f\r"
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_UNITS = {
    b"": 1, b"s": 1, b"sec": 1, b"second": 1, b"seconds": 1, b"min": 60, b"mins": 60, b"minute": 60, b"minutes": 60,
    b"h": 3600, b"hour": 3600, b"hours": 3600, b"d": 86400, b"day": 86400, b"days": 86400, b"w": 604800,
    b"week": 604800, b"weeks": 604800, b"mon": 2678400, b"month": 2678400, b"months": 2678400, b"y": 31536000,
    b"year": 31536000, b"years": 31536000,
}  # fmt: skip


def _match(pattern: bytes, text: bytes) -> re.Match[bytes]:
    found = re.fullmatch(pattern, text)
    if found is None:
        raise Refused
    return found


def _within(value: Any, specification: Specification, minimum: float, maximum: float) -> Any:
    if not specification.get("minimum", minimum) <= value <= specification.get("maximum", maximum):
        raise Refused
    return value


def a_string(text: bytes, _: Specification) -> bytes:
    if _CONTROL.search(text):
        raise Refused
    try:
        text.decode()
    except UnicodeDecodeError:
        raise Refused from None
    return text


def a_text(text: bytes, _: Specification) -> bytes:
    return text


def a_boolean(text: bytes, _: Specification) -> bool:
    word = text.strip(_BLANKS).lower()
    if word in (b"true", b"yes", b"on", b"1"):
        return True
    if word in (b"false", b"no", b"off", b"0"):
        return False
    raise Refused


def an_integer(text: bytes, specification: Specification) -> int:
    digits = _match(rb"-?[0-9]+", text.strip(_BLANKS))[0]
    if len(digits) > 30 and digits.strip(b"-0"):
        raise Refused  # larger than any number here, unless it is only zeros in front
    return int(_within(int(digits), specification, -(2**63), 2**63 - 1))


def a_number(text: bytes, specification: Specification) -> float:
    return float(_within(float(_match(rb"[0-9]+(\.[0-9]+)?", text.strip(_BLANKS))[0]), specification, 0, math.inf))


def a_port(text: bytes, _: Specification) -> int:
    return an_integer(text, {"minimum": 1, "maximum": 65535})


def an_enum(text: bytes, specification: Specification) -> Any:
    for allowed in specification["allowed"]:
        if allowed.lower().encode() == text.strip(_BLANKS).lower():
            values: Mapping[str, Any] = specification.get("values", {})
            value = values.get(allowed, allowed)
            return value.encode() if isinstance(value, str) else value
    raise Refused


def a_host(text: bytes, specification: Specification) -> Any:
    name = text.strip(_BLANKS).lower()
    if specification.get("none") and name == b"none":
        return False
    if len(name) > 255:
        raise Refused
    for label in name.split(b"."):
        _match(rb"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label)
    return name


def a_node(text: bytes, _: Specification) -> bytes:
    if len(text) > 1023:
        raise Refused
    return _match(rb"[!#$%()*+,.0-9;=?A-Z\[\\\]^_`a-z{|}~-]+", text)[0].lower()


def a_jid(text: bytes, _: Specification) -> bytes:
    node, at, host = text.strip(_BLANKS).partition(b"@")
    if not at:
        raise Refused
    return a_node(node, {}) + b"@" + bytes(a_host(host, {}))


def an_address(text: bytes, _: Specification) -> bytes:
    return a_jid(text, {}) if b"@" in text else bytes(a_host(text, {}))


def a_module(text: bytes, _: Specification) -> bytes:
    return _match(rb"[A-Za-z0-9_-]+", text.strip(_BLANKS).removeprefix(b"mod_"))[0]


def a_provider(text: bytes, _: Specification) -> bytes:
    return _match(rb"[A-Za-z0-9_-]+", text.strip(_BLANKS).removeprefix(b"mod_").removeprefix(b"auth_"))[0]


def a_role(text: bytes, _: Specification) -> bytes:
    return _match(rb"[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+", text.strip(_BLANKS))[0]


def a_mechanism(text: bytes, _: Specification) -> bytes:
    return _match(rb"[A-Z0-9_-]{1,20}", text.strip(_BLANKS).upper())[0]


def an_ip(text: bytes, _: Specification) -> bytes:
    address = text.strip(_BLANKS)
    try:
        ipaddress.ip_address(address.decode("ascii"))
    except ValueError:
        raise Refused from None
    if b"%" in address:  # a zone: of no use in a configuration
        raise Refused
    return address


def an_interface(text: bytes, _: Specification) -> bytes:
    return b"*" if text.strip(_BLANKS) == b"*" else an_ip(text, {})


def a_cidr(text: bytes, _: Specification) -> bytes:
    address, _slash, bits = text.strip(_BLANKS).partition(b"/")
    longest = 128 if b":" in an_ip(address, {}) else 32
    if address.strip(_BLANKS) != address or int(_match(rb"[0-9]{1,3}", bits)[0]) > longest:
        raise Refused
    return address + b"/" + bits


def a_network(text: bytes, _: Specification) -> bytes:
    return a_cidr(text, {}) if b"/" in text else an_ip(text, {})


def a_path(text: bytes, specification: Specification) -> bytes:
    path = text.strip(_BLANKS)
    if not path or _CONTROL.search(path):
        raise Refused
    if path.startswith(b"/"):
        return path
    if "base" not in specification:
        raise Refused
    return str(specification["base"]).encode() + b"/" + path


def a_url(text: bytes, _: Specification) -> bytes:
    return _match(rb"https?://[A-Za-z0-9\[][^\s\x00-\x1f\x7f\"<>\\]*", text.strip(_BLANKS))[0]


def a_uri(text: bytes, _: Specification) -> bytes:
    return _match(rb"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f\x7f\"<>\\]+", text.strip(_BLANKS))[0]


def a_script(text: bytes, _: Specification) -> bytes:
    script = text.strip(_BLANKS)
    if b".." in script or _CONTROL.search(script):
        raise Refused
    return _match(rb"/.+|[A-Za-z0-9_]+:[^/].*", script)[0]


def a_timezone(text: bytes, _: Specification) -> bytes:
    return _match(rb"[A-Za-z0-9_+-][A-Za-z0-9_+/-]*", text.strip(_BLANKS))[0]


def a_umask(text: bytes, _: Specification) -> bytes:
    return _match(rb"0?(0[0-7][0-7])", text.strip(_BLANKS))[1]


def _product(text: bytes) -> int | None:
    if not re.fullmatch(rb"[0-9]+(\s*\*\s*[0-9]+)+", text):
        return None
    product = 1
    for factor in text.split(b"*"):
        digits = factor.strip(_BLANKS)
        if len(digits) > 12:
            raise Refused
        product *= int(digits)
        if product > 2**50:
            raise Refused
    return product


def seconds(text: bytes, _: Specification) -> int:
    wanted = text.strip(_BLANKS).lower()
    product = _product(wanted)
    if product is not None:
        return product
    count, unit = _match(rb"([0-9]{1,9})\s*([a-z]*)", wanted).groups()
    if unit not in _UNITS:
        raise Refused
    return int(count) * _UNITS[unit]


def a_duration(text: bytes, _: Specification) -> Any:
    return b"never" if text.strip(_BLANKS).lower() == b"never" else seconds(text, {})


def _counted(text: bytes, factor: int, digits: int, least: int) -> int:
    count = _match(rb"[0-9]+(\.[0-9]*)?", text.strip(_BLANKS))[0]
    if len(count) > digits:
        raise Refused
    value = math.floor(Fraction(count.decode().removesuffix(".")) * factor)
    if value < least:
        raise Refused
    return value


def days(text: bytes, _: Specification) -> int:
    count = _match(rb"[0-9]+(\.[0-9]*)?", text.strip(_BLANKS))[0]
    if len(count) > 7:
        raise Refused
    return math.floor(float(count) * 86400)  # a second more or less is no matter


def mebibytes(text: bytes, _: Specification) -> int:
    return _counted(text, 2**20, 9, 1)


def gibibytes(text: bytes, _: Specification) -> int:
    return _counted(text, 2**30, 9, 1)


def a_size(text: bytes, specification: Specification) -> int:
    wanted = text.strip(_BLANKS).lower()
    size = _product(wanted)
    if size is None:
        count, unit = _match(rb"([0-9]+\.?[0-9]*)\s*([kmg]?)i?b?", wanted).groups()
        size = _counted(count, {b"": 1, b"k": 2**10, b"m": 2**20, b"g": 2**30}[unit], 15, 0)
    return int(_within(size, specification, 0, math.inf))


def a_rate(text: bytes, _: Specification) -> bytes:
    count, unit = _match(rb"([0-9]+\.?[0-9]*)\s*([kmg])b/s", text.strip(_BLANKS).lower()).groups()
    if len(count) > 30:
        raise Refused
    thousands = Fraction(count.decode().removesuffix(".")) * {b"k": 1, b"m": 10**3, b"g": 10**6}[unit]
    if not 1 <= thousands <= 10**9:
        raise Refused
    return b"%dkb/s" % math.floor(thousands)


def a_burst(text: bytes, _: Specification) -> bytes:
    count = int(_match(rb"([0-9]{1,6})\s*s?", text.strip(_BLANKS).lower())[1])
    if count < 1:
        raise Refused
    return b"%ds" % count


def a_list(text: bytes, specification: Specification) -> list[Any]:
    if specification.get("none") and text.strip(_BLANKS).lower() == b"none":
        return []
    if specification["of"] in ("string", "text", "uri", "url", "enum", "script"):
        parts = text.split(b"\n" if b"\n" in text else b",")
    else:
        parts = re.split(rb"[,\s]+", text)
    values: list[Any] = []
    for part in parts:
        item = part.strip(_BLANKS)
        for quote in (b'"', b"'"):
            if len(item) > 1 and item.startswith(quote) and item.endswith(quote):
                item = item[1:-1]
                break
        if item:
            value = meaning({**specification, "type": specification["of"], "none": False}, item)
            if value not in values:
                values.append(value)
    return values


def a_map(text: bytes, specification: Specification) -> dict[Any, Any]:
    separator = str(specification.get("separator", ":")).encode()
    values: dict[Any, Any] = {}
    for part in text.split(b"\n" if b"\n" in text else b","):
        item = part.strip(_BLANKS)
        if not item:
            continue
        name, _found, value = (piece.strip(_BLANKS) for piece in item.partition(separator))
        key = meaning({**specification, "type": specification["keys"]}, name)
        if key in values or (not value and not specification.get("optional")):
            raise Refused
        values[key] = meaning({**specification, "type": specification["of"]}, value) if value else b""
    return values


def accounts(text: bytes, _: Specification) -> list[dict[bytes, bytes]]:
    found: list[dict[bytes, bytes]] = []
    seen = set()
    for line in text.split(b"\n"):
        account = line.removesuffix(b"\r")
        if not account.strip(_BLANKS):
            continue
        address, colon, password = account.partition(b":")
        jid = a_jid(address, {})
        if jid in seen or (colon and (not password or _CONTROL.search(password))):
            raise Refused
        seen.add(jid)
        username, _at, host = jid.partition(b"@")
        found.append({b"username": username, b"host": host} | ({b"password": password} if colon else {}))
    return found


MEANINGS: Mapping[str, Callable[[bytes, Specification], Any]] = {
    "accounts": accounts, "address": an_address, "boolean": a_boolean, "burst": a_burst, "cidr": a_cidr, "days": days,
    "duration": a_duration, "enum": an_enum, "gibibytes": gibibytes, "host": a_host, "integer": an_integer,
    "interface": an_interface, "ip": an_ip, "jid": a_jid, "list": a_list, "map": a_map, "mebibytes": mebibytes,
    "mechanism": a_mechanism, "module": a_module, "network": a_network, "node": a_node, "number": a_number,
    "path": a_path, "port": a_port, "provider": a_provider, "rate": a_rate, "role": a_role, "script": a_script,
    "seconds": seconds, "size": a_size, "string": a_string, "text": a_text, "timezone": a_timezone, "umask": a_umask,
    "uri": a_uri, "url": a_url,
}  # fmt: skip


def meaning(specification: Specification, text: bytes) -> Any:
    """The value of a text; raises Refused if it is none."""
    if b"\0" in text:
        raise Refused
    if text.strip(_BLANKS).lower().decode("latin-1") in specification.get("words", ()):
        return text.strip(_BLANKS).lower()
    return MEANINGS[specification["type"]](text, specification)


# ---- Specifications and texts to try

_ENUM = {
    "type": "enum",
    "allowed": ["SQLite3", "true", "local"],
    "values": {"SQLite3": "sqlite", "true": True, "local": False},
}
SPECIFICATIONS: Mapping[str, Specification] = {
    **{name: {"type": name} for name in MEANINGS if name not in ("enum", "list", "map")},
    "enum": {"type": "enum", "allowed": ["SQLite3", "PostgreSQL"]},
    "enum-values": {
        "type": "enum",
        "allowed": ["SQLite3", "true", "local"],
        "values": {"SQLite3": "sqlite", "true": True, "local": False},
    },
    "integer-range": {"type": "integer", "minimum": 100, "maximum": 1000},
    "number-range": {"type": "number", "minimum": 0.01, "maximum": 1000},
    "size-minimum": {"type": "size", "minimum": 10000},
    "seconds-words": {"type": "seconds", "words": ["manual"]},
    "host-none": {"type": "host", "none": True},
    "path-base": {"type": "path", "base": "/etc/prosody"},
    "list-string": {"type": "list", "of": "string"},
    "list-host": {"type": "list", "of": "host", "none": True},
    "list-port": {"type": "list", "of": "port", "none": True},
    "list-enum": {"type": "list", "of": "enum", "allowed": ["a b", "c"]},
    "list-uri": {"type": "list", "of": "uri"},
    "map-host": {"type": "map", "keys": "host", "of": "text", "optional": True},
    "map-jid": {"type": "map", "keys": "jid", "of": "role", "separator": "="},
    "map-port": {"type": "map", "keys": "port", "of": "enum", "allowed": ["c2s", "s2s"]},
}
_HOSTILE = [
    b'"', b"'", b"]]", b"[[", b"]=]", b"--", b"--[[", b"\\", b"\\0", b"%", b"%s%n", b"%1", b"^.-$", b"[", b"(",
    b"$(id)", b"${HOME}", b";", b"\n", b"\r\n", b"\t", b" ", b"\x7f", b"\x1b[31m", b"\x00", b"\xff", b"\xc3",
    b"\xed\xa0\x80", "ü".encode(), "\u2028".encode(), b"{", b"}", b"nil", b"none", b"true", b"never", b"=", b":",
    b",", b"@", b"/", b".", b'"; os.exit(1) --', b"]]; sentinel = true --[[", b"\nsentinel = true\n",
    b"' .. tostring(_G) .. '", _MARK,
]  # fmt: skip
_ORDINARY = [
    b"0", b"1", b"5222", b"027", b"99999999999999999999", b"-1", b"1.5", b"1e5", b"0x10", b"10 * 60", b"1h", b" days",
    b"MiB", b"kb/s", b"MB/s", b"s", b"g", b"chat.example", b"juliet@chat.example", b"juliet", b"-", b"_", b"mod_",
    b"auth_", b"*", b"127.0.0.1", b"010.0.0.1", b"::1", b"2001:db8::", b"::ffff:192.0.2.1", b"/24", b"https://",
    b"mailto:", b"/etc", b"..", b"prosody:admin", b"module:scripts/a.pfw", b"SCRAM-SHA-1", b"Europe/Zurich",
    b"sqlite3", b"c2s", b"a b", b"x" * 64,
]  # fmt: skip
texts = st.lists(st.sampled_from(_HOSTILE + _ORDINARY) | st.binary(max_size=12), max_size=6).map(b"".join)
words = st.text(string.ascii_letters + string.digits + " .:/@-*_,\n", max_size=24).map(str.encode)


def same(value: Any, meant: Any) -> bool:
    """Whether Lua's value is the one that was meant; 1 is not true, 1.0 is 1 where any number is meant."""
    if meant in ([], {}) and value in ([], {}):
        return True
    if isinstance(meant, dict) and isinstance(value, list):  # Lua cannot tell them apart
        value = dict(enumerate(value, 1))
    if isinstance(meant, float):
        return isinstance(value, int | float) and float(value) == meant
    return type(value) is type(meant) and bool(value == meant)


def check(specification: Specification, text: bytes) -> None:
    value, expected = parse(specification, text)
    try:
        meant = meaning(specification, text)
    except Refused:
        assert value is None, f"accepted as {value!r}"
    else:
        assert same(value, meant), f"{value!r} ({expected!r}), meant was {meant!r}"


# ---- Tests


def test_every_type_is_tried() -> None:
    """The types of container/types.lua; json needs Prosody's libraries, pattern has a test of its own."""
    source = (paths.IMAGES / "rootfs/usr/local/lib/prosody-container/container/types.lua").read_text()
    types = set(re.findall(r"^\tfunction parsers\.(\w+)", source, re.MULTILINE))
    assert types - {"json", "pattern"} == set(MEANINGS)


@pytest.mark.parametrize("name", SPECIFICATIONS)
@settings(PROFILE)
@given(text=texts | words)
@example(text=b"")
def test_a_text_becomes_what_it_means_or_is_refused(name: str, text: bytes) -> None:
    check(SPECIFICATIONS[name], text)


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_usual_texts(name: str) -> None:
    for text in _HOSTILE + _ORDINARY:
        for before in (b"", b" ", b"1", b"a", b"1."):
            check(SPECIFICATIONS[name], before + text)
            check(SPECIFICATIONS[name], text + before)


@pytest.mark.parametrize("unit", _UNITS, ids=bytes.decode)
def test_units_of_time(unit: bytes) -> None:
    for text in (b"3" + unit, b"12 " + unit.upper(), unit, b"3" + unit + b"x", b"3 " + unit + b" 4"):
        check({"type": "duration"}, text)


@pytest.mark.parametrize("limit", [0, 1, 77, 100, 128, 1000, 10000, 65535, 999999, 2**50, 2**63 - 1, -(2**63)])
def test_limits(limit: int) -> None:
    for name, specification in SPECIFICATIONS.items():
        for number in (limit - 1, limit, limit + 1):
            for text in (f"{number}", f"0{number}", f"{number}s", f"{number}kb/s", f"{number}:c2s", f"2 * {number}"):
                check(specification, text.encode())
        if name == "number-range":
            for text in ("0.01", "0.009", "1000.0", "1000.1"):
                check(specification, text.encode())


@settings(PROFILE)
@given(number=st.integers(-(2**66), 2**66))
def test_integers(number: int) -> None:
    check({"type": "integer"}, b"%d" % number)


@settings(PROFILE)
@given(parts=st.lists(st.integers(0, 70000), min_size=0, max_size=9), double=st.integers(0, 9))
def test_addresses(parts: list[int], double: int) -> None:
    groups = [f"{part:x}" for part in parts]
    if double <= len(groups):
        groups.insert(double, "")
    for text in (":".join(groups), ":".join(groups) + ":192.0.2.1", ".".join(str(part % 300) for part in parts)):
        check({"type": "network"}, text.encode())
        check({"type": "network"}, f"{text}/{len(text) * 3}".encode())


@settings(PROFILE)
@given(count=st.decimals(0, 10**6, places=3), unit=st.sampled_from(["", "k", "M", "G", "KiB", "MB", "gib", "b", "t"]))
def test_sizes(count: object, unit: str) -> None:
    for blank in ("", " "):
        check({"type": "size"}, f"{count}{blank}{unit}".encode())
        check({"type": "rate"}, f"{count}{blank}{unit}/s".encode())
        check({"type": "days"}, f"{count}".encode())


@settings(PROFILE)
@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from([b"juliet@chat.example", b"Romeo@chat.example", b"a@b", b"nobody", b" x@y "]),
            st.sampled_from([b":", b"", b"::", b" "]),
            texts,
        )
    )
)
def test_accounts(pairs: list[tuple[bytes, bytes, bytes]]) -> None:
    check({"type": "accounts"}, b"\n".join(b"".join(pair) for pair in pairs))


@settings(PROFILE)
@given(pattern=texts | st.lists(st.sampled_from("a%[]^()bf.-*+?$0 x")).map("".join).map(str.encode))
@example(pattern=b"buy[")
@example(pattern=b"buy%")
@example(pattern=b"a(b")
@example(pattern=b"a%b")
@example(pattern=b"a%f")
@example(pattern=b"(a)%2")
def test_a_pattern_can_be_used(pattern: bytes) -> None:
    """One that fails would be an error at each message that gets so far in it."""
    value, _ = parse({"type": "pattern"}, pattern)
    letters = bytes(sorted(set(pattern)))
    subjects = [b"", pattern, letters, letters * 3, re.sub(rb"\W", b"", pattern), b"abx 0" * 2]
    subjects += [pattern[:end] for end in range(len(pattern))]
    failure = _shared.get().failure_of_pattern(pattern, subjects)
    if value is not None:
        assert value == pattern
        assert failure is None


@settings(PROFILE)
@given(pattern=st.text(string.ascii_letters + " .-+*?^$", min_size=1).map(str.encode))
@example(pattern=b"^[Bb]uy %d+ (now)$")
@example(pattern=b"%f[%w]%a+%b()[^%]]*[]a-z]")
def test_a_good_pattern_is_accepted(pattern: bytes) -> None:
    assert parse({"type": "pattern"}, pattern) == (pattern, None)


@settings(PROFILE)
@given(text=texts)
def test_json_without_its_library_is_refused(text: bytes) -> None:
    for kind in ({}, {"of": "array"}, {"of": "object"}):
        assert parse({"type": "json", **kind}, text)[0] is None


@pytest.mark.parametrize("name", SPECIFICATIONS)
@settings(PROFILE, max_examples=25)
@given(before=texts, after=texts)
@example(before=b"chat.example:a,", after=b",hunter2")
@example(before=b"a@chat.example:x\n", after=b"@chat.example:y\n")
def test_a_secret_is_not_shown(name: str, before: bytes, after: bytes) -> None:
    value, expected = parse({**SPECIFICATIONS[name], "secret": True}, before + _MARK + after)
    if value is None:
        assert expected is not None
        assert _MARK not in expected.lower()


_LONG = [b" ", b"0", b"x", b"1.", b":", b"a@", b"1*", b"\n", b"a, ", b"%", b"["]
_PLAIN = sorted(set(MEANINGS) & set(SPECIFICATIONS))


@pytest.mark.parametrize("name", [*_PLAIN, "list-string", "list-host", "map-host", "pattern"])
def test_a_long_text_does_not_take_long(name: str) -> None:
    """Time must grow with the length, not with its square: a mebibyte, and quarters of one of each kind."""
    specification = SPECIFICATIONS.get(name, {"type": name})
    parse(specification, b"x" * 1024 * 1024)
    for piece in _LONG:
        long = piece * (256 * 1024 // len(piece))
        for text in (long, b"x" + long + b"x", long + b"!"):
            parse(specification, text)
