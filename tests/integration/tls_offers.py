"""ClientHellos made by hand: any version of SSL and TLS, and any of the 65536 cipher suites, can be offered.

Libraries refuse to speak what is too old or too weak, and offer only what they can do. A server shows with its first
answer whether it would: by a ServerHello that names version and suite, or by an alert (RFC 5246, RFC 6101, RFC 8446).
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

Connect = Callable[[], socket.socket]

_ALERT, _HANDSHAKE = 21, 22
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_MOST_IN_A_RECORD = 16384  # bytes (RFC 8446, 5.1)
_MOST_AT_A_TIME = 8000  # numbers in one offer
_SERVER_NAME, _GROUPS, _POINTS, _SIGNATURES, _VERSIONS, _KEY_SHARE = 0, 10, 11, 13, 43, 51
_X25519 = 29
_ALL = range(0x10000)
# Not suites but signals: that the client could renegotiate, or has fallen back (RFC 5746, RFC 7507)
_SIGNALS = {0x00FF, 0x5600}
# Every algorithm of RFC 8446 and of RFC 5246 with a hash that is still in use, and with SHA-1
_ALGORITHMS = (
    0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0807, 0x0808, 0x0809, 0x080A, 0x080B,
    0x0401, 0x0501, 0x0601, 0x0203, 0x0201, 0x0202,
)  # fmt: skip


class Version(IntEnum):
    """Versions as they are written in records and in ClientHellos."""

    SSL3 = 0x0300
    TLS1_0 = 0x0301
    TLS1_1 = 0x0302
    TLS1_2 = 0x0303
    TLS1_3 = 0x0304


class Choice(NamedTuple):
    """What a ServerHello names."""

    version: int
    suite: int
    group: int | None


class Refusal(NamedTuple):
    """Number of the alert (RFC 8446, 6), or None where the connection was closed without one."""

    alert: int | None


@dataclass(frozen=True)
class Scan:
    """All that a server takes of what it was offered, and how it refused the rest."""

    accepted: frozenset[int]
    refusals: frozenset[Refusal]


def scan_suites(connect: Connect, version: Version, domain: str) -> Scan:
    """Offer every cipher suite there can be; what the server takes is left out of the next offer, until it refuses."""

    def offer(suites: Sequence[int]) -> Choice | Refusal:
        answer = _ask(connect, _hello(version, suites, domain))
        assert not isinstance(answer, Choice) or answer.version == version, answer
        return answer

    return _scan(offer, (number for number in _ALL if number not in _SIGNALS), lambda choice: choice.suite)


def scan_groups(connect: Connect, domain: str) -> Scan:
    """Offer every group for the key exchange of TLS 1.3, without a share, so that the server has to ask for one."""

    def offer(groups: Sequence[int]) -> Choice | Refusal:
        return _ask(connect, _hello(Version.TLS1_3, (0x1301, 0x1302, 0x1303), domain, groups=groups, share=None))

    return _scan(offer, _ALL, lambda choice: choice.group)


def offer_ssl2(connect: Connect) -> Choice | Refusal:
    """Offer SSL 2.0 in its own form, with each of its suites."""
    specifications = bytes.fromhex("010080 020080 030080 040080 050080 060040 0700c0")
    body = b"\x01\x00\x02" + _number(len(specifications), 2) + b"\0\0" + b"\0\x10" + specifications
    return _ask(connect, _number(0x8000 | len(body) + 16, 2) + body + secrets.token_bytes(16))


def _scan(
    offer: Callable[[Sequence[int]], Choice | Refusal],
    numbers: Iterable[int],
    chosen: Callable[[Choice], int | None],
) -> Scan:
    accepted: set[int] = set()
    refusals: set[Refusal] = set()
    everything = list(numbers)
    for start in range(0, len(everything), _MOST_AT_A_TIME):
        offered = everything[start : start + _MOST_AT_A_TIME]
        while offered:
            answer = offer(offered)
            if isinstance(answer, Refusal):
                refusals.add(answer)
                break
            number = chosen(answer)
            assert number is not None, f"nothing was chosen: {answer}"
            assert number in offered, f"the server chose {number}, which was not offered"
            accepted.add(number)
            offered.remove(number)
    return Scan(frozenset(accepted), frozenset(refusals))


def _ask(connect: Connect, hello: bytes) -> Choice | Refusal:
    with connect() as connection:
        try:
            connection.sendall(hello)
            kind, content = _record(connection)
        except ConnectionError:
            return Refusal(None)
    if kind is None:
        return Refusal(None)
    if kind == _ALERT:
        return Refusal(content[1])
    assert (kind, content[0]) == (_HANDSHAKE, _SERVER_HELLO), f"neither a ServerHello nor an alert: {content[:40]!r}"
    return _choice(content)


def _record(connection: socket.socket) -> tuple[int | None, bytes]:
    """Kind and content of the first record; no kind where there is none."""
    with connection.makefile("rb") as stream:
        header = stream.read(5)
        if len(header) < 5:
            return None, b""
        return header[0], stream.read(int.from_bytes(header[3:], "big"))


def _choice(hello: bytes) -> Choice:
    """What a ServerHello says, or a HelloRetryRequest, which has the same form (RFC 8446, 4.1.3)."""
    version, position = int.from_bytes(hello[4:6], "big"), 4 + 2 + 32
    position += 1 + hello[position]
    suite, position = int.from_bytes(hello[position : position + 2], "big"), position + 2 + 1
    group, position = None, position + 2
    while position < len(hello):
        kind, length = (int.from_bytes(hello[position + start : position + start + 2], "big") for start in (0, 2))
        value, position = hello[position + 4 : position + 4 + length], position + 4 + length
        if kind == _VERSIONS:
            version = int.from_bytes(value, "big")
        elif kind == _KEY_SHARE:
            group = int.from_bytes(value[:2], "big")
    return Choice(version, suite, group)


def _hello(
    version: Version,
    suites: Sequence[int],
    domain: str,
    *,
    groups: Sequence[int] = (_X25519, 23, 24, 25),
    share: int | None = _X25519,
) -> bytes:
    """Records with a ClientHello (RFC 8446, 4.1.2); SSL 3.0 has no extensions."""
    session = secrets.token_bytes(32) if version == Version.TLS1_3 else b""
    body = _number(min(version, Version.TLS1_2), 2) + secrets.token_bytes(32) + _vector(session, 1)
    body += _vector(b"".join(_number(suite, 2) for suite in suites), 2) + _vector(b"\0", 1)
    if version > Version.SSL3:
        name = b"\0" + _vector(domain.encode(), 2)
        extensions = [
            (_SERVER_NAME, _vector(name, 2)),
            (_GROUPS, _vector(b"".join(_number(group, 2) for group in groups), 2)),
            (_POINTS, _vector(b"\0", 1)),
        ]
        if version >= Version.TLS1_2:
            extensions.append((_SIGNATURES, _vector(b"".join(_number(number, 2) for number in _ALGORITHMS), 2)))
        if version == Version.TLS1_3:
            shares = b"" if share is None else _number(share, 2) + _vector(secrets.token_bytes(32), 2)
            extensions += [(_VERSIONS, _vector(_number(version, 2), 1)), (_KEY_SHARE, _vector(shares, 2))]
        body += _vector(b"".join(_number(kind, 2) + _vector(value, 2) for kind, value in extensions), 2)
    message = _number(_CLIENT_HELLO, 1) + _vector(body, 3)
    # The version of the record itself is not looked at; 3.1 is what every server takes (RFC 8446, D).
    outer = _number(min(version, Version.TLS1_0), 2)
    pieces = (message[start : start + _MOST_IN_A_RECORD] for start in range(0, len(message), _MOST_IN_A_RECORD))
    return b"".join(_number(_HANDSHAKE, 1) + outer + _vector(piece, 2) for piece in pieces)


def _number(number: int, size: int) -> bytes:
    return int(number).to_bytes(size, "big")


def _vector(content: bytes, size: int) -> bytes:
    """Content with its length before it, in `size` bytes."""
    return _number(len(content), size) + content
