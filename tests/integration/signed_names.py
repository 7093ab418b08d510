"""A name server whose answers are signed (DNSSEC), for networks of containers.

Everything is in one zone, the root, signed with one key (RFC 4034, RFC 4035). All answers are made beforehand, and a
container that has nothing but Lua looks them up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta

import dns.dnssec
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# Reads lines "name type answer", the answer in hexadecimal digits; what else is asked gets SERVFAIL (RFC 1035, 4.1).
PROGRAM = """
local answers = {}
for line in io.lines("/answers") do
	local question, answer = line:match("^(%S+ %d+) (%x+)$")
	answers[question] = answer:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
end
local listener = require "socket".udp()
assert(listener:setsockname("*", 53))
while true do
	local query, address, port = listener:receivefrom()
	local labels, position = {}, 13
	while query:byte(position) ~= 0 do
		local length = query:byte(position)
		labels[#labels + 1] = query:sub(position + 1, position + length):lower()
		position = position + length + 1
	end
	local question = table.concat(labels, ".") .. ". " .. (">I2"):unpack(query, position + 1)
	local refusal = "\\x80\\x02\\0\\1\\0\\0\\0\\0\\0\\0" .. query:sub(13, position + 4)
	listener:sendto(query:sub(1, 2) .. (answers[question] and answers[question]:sub(3) or refusal), address, port)
end
"""
_TTL = 60  # seconds
_LIFETIME = timedelta(days=2)
_ASKED = ("A", "AAAA", "SRV", "TLSA", "DNSKEY", "DS", "NS", "SOA", "TXT", "HTTPS")


def tlsa(certificate: bytes) -> str:
    """Record that confirms the key of a certificate in PEM, whoever issued it (DANE-EE, RFC 6698, 2.1: 3 1 1)."""
    key = x509.load_pem_x509_certificate(certificate).public_key()
    return f"3 1 1 {hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()}"


class SignedNames:
    """The zone. Every name in it can be asked for every type: where there is nothing, that is proved as well."""

    def __init__(self, records: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Take records by name and type, in the form of zone files."""
        private = ec.generate_private_key(ec.SECP256R1())
        key = dns.dnssec.make_dnskey(private.public_key(), "ECDSAP256SHA256", flags=257)
        self._private, self._key = private, key
        root = {"SOA": ["ns. nobody. 1 3600 600 86400 60"], "NS": ["ns."], "DNSKEY": [key.to_text()]}
        everything = {dns.name.root: root} | {dns.name.from_text(name): types for name, types in records.items()}
        self._sets: dict[tuple[dns.name.Name, str], list[dns.rrset.RRset]] = {}
        names = sorted(everything)
        for name, following in zip(names, [*names[1:], names[0]], strict=True):
            types = {**everything[name]}
            types["NSEC"] = [f"{following} {' '.join([*types, 'RRSIG', 'NSEC'])}"]
            for kind, texts in types.items():
                self._sets[name, kind] = self._signed(dns.rrset.from_text(name, _TTL, "IN", kind, *texts))
        self._names = names

    @property
    def anchor(self) -> str:
        """The key of the zone, as resolvers read it."""
        return f". IN DNSKEY {self._key.to_text()}\n"

    def answers(self) -> str:
        """What PROGRAM reads."""
        lines = []
        for name in self._names:
            for kind in _ASKED:
                question = dns.message.make_query(name, kind, want_dnssec=True)
                answer = dns.message.make_response(question, recursion_available=True)
                found = self._sets.get((name, kind))
                if found:
                    answer.answer += found
                else:
                    answer.authority += self._sets[dns.name.root, "SOA"] + self._sets[name, "NSEC"]
                lines.append(f"{name} {int(dns.rdatatype.from_text(kind))} {answer.to_wire().hex()}")
        return "\n".join(lines) + "\n"

    def _signed(self, records: dns.rrset.RRset) -> list[dns.rrset.RRset]:
        signature = dns.dnssec.sign(
            records, self._private, dns.name.root, self._key, lifetime=int(_LIFETIME.total_seconds())
        )
        return [records, dns.rrset.from_rdata(records.name, _TTL, signature)]
