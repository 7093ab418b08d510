"""The server rows of XEP-0479 (XMPP Compliance Suites 2023), each with what has to be seen of a server for it.

    python -m tests.integration.compliance [--check]

observes the default image and writes docs/compliance.md; with --check it fails with a diff if the page is stale.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from scripts import build, engine, errors, paths, platforms
from scripts.console import console
from scripts.errors import StaleError, UserError
from tests.integration.containers import LoadedImage
from tests.integration.evidence import Exchange, Feature, Observation, Place
from tests.integration.observation import observe

PAGE = paths.ROOT / "docs" / "compliance.md"
_IMAGE = "prosody-test:compliance"
_PUBSUB = "http://jabber.org/protocol/pubsub"
_HEAD = """# Compliance

Written by `scripts/nox -s compliance`, from what two servers showed over the wire. Both ran in the image of the variant
`debian`, with a read-only root and without capabilities; one was told only its domain and two accounts, the other was
also given an external component and a TURN server by a file in `/etc/prosody/conf.d`, for what is said to be "once
configured". Real clients (slixmpp, and bare sockets where a library would hide it) read the features of streams before
TLS, after TLS and after login, and the features that the host, an account, the services and a room give as disco#info;
and they had the exchanges that are named. A row is satisfied only if everything that it needs was seen.
`scripts/nox -s compliance` repeats this and writes the page, `scripts/nox -s compliance -- --check` only compares;
the integration tests do the same for each row on its own.

The rows are those that [XEP-0479](https://xmpp.org/extensions/xep-0479.html) (XMPP Compliance Suites 2023) has for
servers. A row of level Core is required at both levels, one of level Advanced at the advanced level only.
"""


class ComplianceError(UserError):
    """The image does not satisfy a row."""


class Level(StrEnum):
    """For which level of compliance a row is required of servers."""

    CORE = "Core"
    ADVANCED = "Advanced"
    NONE = "not required"


@dataclass(frozen=True)
class Row:
    """A row of the compliance suites, and everything that has to be seen for it."""

    suite: str
    feature: str
    specifications: tuple[str, ...]
    level: Level
    needs: tuple[Feature | Exchange, ...]

    @property
    def name(self) -> str:
        """Suite and feature."""
        return f"{self.suite}: {self.feature}"

    def missing(self, observation: Observation) -> list[str]:
        """What was not seen, with the reason where it is known."""
        found = []
        for need in self.needs:
            if not observation.has(need):
                reason = observation.failures.get(need) if isinstance(need, Exchange) else None
                found.append(f"{need} ({reason})" if reason else f"{need}")
        return found


ROWS = (
    Row("Core", "Core features", ("RFC 6120",), Level.CORE, (
        Feature(Place.AFTER_TLS, "urn:ietf:params:xml:ns:xmpp-sasl"),
        Feature(Place.AFTER_LOGIN, "urn:ietf:params:xml:ns:xmpp-bind"),
        Exchange.LOGIN, Exchange.SERVERS,
    )),
    Row("Core", "TLS", ("RFC 7590",), Level.CORE, (
        Feature(Place.BEFORE_TLS, "urn:ietf:params:xml:ns:xmpp-tls (required)"),
        Feature(Place.SERVERS, "urn:ietf:params:xml:ns:xmpp-tls (required)"),
        Exchange.TLS,
    )),
    Row("Core", "Direct TLS", ("XEP-0368",), Level.ADVANCED, (Exchange.CLIENT_TLS, Exchange.SERVER_TLS)),
    Row("Core", "Feature discovery", ("XEP-0030",), Level.CORE, (
        Feature(Place.HOST, "http://jabber.org/protocol/disco#info"),
        Feature(Place.HOST, "http://jabber.org/protocol/disco#items"),
        Exchange.ITEMS,
    )),
    Row("Core", "Feature broadcasts", ("XEP-0115",), Level.ADVANCED, (
        Feature(Place.AFTER_LOGIN, "http://jabber.org/protocol/caps"), Exchange.CAPABILITIES,
    )),
    Row("Core", "Server Extensibility", ("XEP-0114",), Level.CORE, (Exchange.COMPONENT,)),
    Row("Core", "Event publishing", ("XEP-0163",), Level.ADVANCED, (
        Feature(Place.ACCOUNT, f"{_PUBSUB}#publish"),
        Feature(Place.ACCOUNT, f"{_PUBSUB}#filtered-notifications"),
        Exchange.EVENTS,
    )),
    Row("Web", "Web Connection Mechanisms", ("RFC 7395", "XEP-0206", "XEP-0124"), Level.CORE, (
        Exchange.WEBSOCKET, Exchange.BOSH,
    )),
    Row("Web", "Connection Mechanism Discovery", ("XEP-0156",), Level.NONE, (Exchange.HOST_META,)),
    Row("IM", "Core features", ("RFC 6121",), Level.CORE, (
        Feature(Place.HOST, "jabber:iq:roster"),
        Feature(Place.AFTER_LOGIN, "urn:xmpp:features:rosterver"),
        Exchange.MESSAGING,
    )),
    Row("IM", "User Avatar Compatibility", ("XEP-0398", "XEP-0153"), Level.ADVANCED, (
        Feature(Place.ACCOUNT, "urn:xmpp:pep-vcard-conversion:0"), Exchange.AVATAR,
    )),
    Row("IM", "vcard-temp", ("XEP-0054",), Level.CORE, (Feature(Place.HOST, "vcard-temp"), Exchange.VCARD)),
    Row("IM", "Outbound Message Synchronization", ("XEP-0280",), Level.CORE, (
        Feature(Place.HOST, "urn:xmpp:carbons:2"), Exchange.CARBONS,
    )),
    Row("IM", "User Blocking", ("XEP-0191",), Level.ADVANCED, (
        Feature(Place.HOST, "urn:xmpp:blocking"), Exchange.BLOCKING,
    )),
    Row("IM", "Group Chat", ("XEP-0045", "XEP-0249"), Level.CORE, (
        Feature(Place.ROOMS, "http://jabber.org/protocol/muc"), Exchange.ROOM, Exchange.INVITATION,
    )),
    Row("IM", "Advanced Group Chat", ("XEP-0048", "XEP-0313", "XEP-0402", "XEP-0410"), Level.ADVANCED, (
        Feature(Place.ACCOUNT, "urn:xmpp:bookmarks:1#compat"), Exchange.BOOKMARKS,
        Feature(Place.ROOM, "urn:xmpp:mam:2"), Exchange.ROOM_ARCHIVE,
        Feature(Place.ROOM, "http://jabber.org/protocol/muc#self-ping-optimization"), Exchange.SELF_PING,
    )),
    Row("IM", "Persistent Storage of Private Data via PubSub", ("XEP-0223",), Level.ADVANCED, (
        Feature(Place.ACCOUNT, f"{_PUBSUB}#persistent-items"),
        Feature(Place.ACCOUNT, f"{_PUBSUB}#publish-options"),
        Exchange.PRIVATE_ITEM,
    )),
    Row("IM", "Private XML Storage", ("XEP-0049",), Level.ADVANCED, (
        Feature(Place.HOST, "jabber:iq:private"), Exchange.PRIVATE_XML,
    )),
    Row("IM", "Stream Management", ("XEP-0198",), Level.ADVANCED, (
        Feature(Place.AFTER_LOGIN, "urn:xmpp:sm:3"), Exchange.RESUMPTION,
    )),
    Row("IM", "History Storage / Retrieval", ("XEP-0313",), Level.ADVANCED, (
        Feature(Place.ACCOUNT, "urn:xmpp:mam:2"), Exchange.ARCHIVE,
    )),
    Row("IM", "File Upload", ("XEP-0363",), Level.CORE, (
        Feature(Place.UPLOADS, "urn:xmpp:http:upload:0"), Exchange.UPLOAD,
    )),
    Row("Mobile", "Stream Management", ("XEP-0198",), Level.CORE, (
        Feature(Place.AFTER_LOGIN, "urn:xmpp:sm:3"), Exchange.RESUMPTION,
    )),
    Row("Mobile", "Client State Indication", ("XEP-0352",), Level.CORE, (
        Feature(Place.AFTER_LOGIN, "urn:xmpp:csi:0"), Exchange.CLIENT_STATE,
    )),
    Row("Mobile", "Third Party Push Notifications", ("XEP-0357",), Level.ADVANCED, (
        Feature(Place.ACCOUNT, "urn:xmpp:push:0"), Exchange.PUSH,
    )),
    Row("A/V Calling", "STUN/TURN server discovery", ("XEP-0215",), Level.CORE, (
        Feature(Place.HOST, "urn:xmpp:extdisco:2"), Exchange.NO_SERVICES, Exchange.TURN,
    )),
)  # fmt: skip


def page(observation: Observation) -> str:
    """The page that says what was observed; nothing in it differs between two observations of the same server."""
    lines = [
        _HEAD,
        "| suite | feature | specifications | level | seen | satisfied |",
        "|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        seen = "; ".join(str(need) for need in row.needs if observation.has(need)) or "nothing"
        specifications = ", ".join(row.specifications)
        satisfied = "no" if row.missing(observation) else "yes"
        lines.append(f"| {row.suite} | {row.feature} | {specifications} | {row.level} | {seen} | {satisfied} |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s compliance --", description=f"Observe the image, write {PAGE.name}.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is stale")
    is_check = parser.parse_args(arguments).check
    observation = _observe_default_image()
    for row in ROWS:
        missing = row.missing(observation)
        console.print(f"{row.name}: {'not seen: ' + '; '.join(missing) if missing else 'satisfied'}", markup=False)
    text, before = page(observation), PAGE.read_text() if PAGE.exists() else ""
    if is_check and text != before:
        console.print("".join(_difference(before, text)), markup=False, highlight=False)
        raise StaleError(f"docs/{PAGE.name} is not what the image shows: run scripts/nox -s compliance")
    if not is_check:
        paths.write_text(PAGE, text)
    unsatisfied = [row.name for row in ROWS if row.missing(observation)]
    if unsatisfied:
        raise ComplianceError(f"The image does not satisfy {', '.join(unsatisfied)}; what was not seen is said above.")
    console.print(f"{len(ROWS)} rows, all satisfied")


def _observe_default_image() -> Observation:
    tool, native = engine.find(), platforms.native()
    layout = build.build(
        build.prepare("debian", [native]), [native], tool, folder=paths.SCRATCH / "test" / "compliance"
    )
    build.load(layout, layout.images[0], [_IMAGE], tool)
    client = tool.sdk(timeout=120)
    try:
        return observe(client, LoadedImage(_IMAGE, native))
    finally:
        client.images.remove(_IMAGE, force=True)
        client.close()


def _difference(before: str, after: str) -> list[str]:
    names = (f"docs/{PAGE.name} as committed", "what the image shows")
    return list(difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), *names))


if __name__ == "__main__":
    errors.run(main)
