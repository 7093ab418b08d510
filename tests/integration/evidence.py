"""What can be seen of a server: features that it advertises, and exchanges that it takes part in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import httpx
from slixmpp.exceptions import IqError, IqTimeout

from tests.integration.clients import RefusedError
from tests.integration.streams import ProtocolError

# What an exchange that does not succeed ends with; anything else is a mistake in the tests.
FAILURES = (ProtocolError, RefusedError, IqError, IqTimeout, TimeoutError, OSError, httpx.HTTPError)


class Place(StrEnum):
    """Where features are advertised."""

    BEFORE_TLS = "stream features before TLS"
    AFTER_TLS = "stream features after TLS"
    AFTER_LOGIN = "stream features after login"
    SERVERS = "stream features for servers before TLS"
    HOST = "disco#info of the host"
    ACCOUNT = "disco#info of the account"
    ROOMS = "disco#info of the rooms' service"
    ROOM = "disco#info of a room"
    UPLOADS = "disco#info of the upload service"


@dataclass(frozen=True)
class Feature:
    """A namespace advertised at a place."""

    place: Place
    name: str

    def __str__(self) -> str:
        return f"`{self.name}` in {self.place}"


class Exchange(StrEnum):
    """What is done with a server, as it reads once it has succeeded."""

    LOGIN = "login with SCRAM over TLS, and an answer to a ping"
    TLS = "no mechanism is offered before TLS; STARTTLS with a verified certificate and TLS 1.2 or newer"
    CLIENT_TLS = "TLS handshake that offers the protocol `xmpp-client` on port 5223, then stream features"
    SERVER_TLS = "TLS handshake that offers the protocol `xmpp-server` on port 5270, then a stream"
    SERVERS = "after STARTTLS on port 5269, a server without a valid certificate is refused"
    ITEMS = "disco#items of the host names the services for rooms and uploads"
    CAPABILITIES = "the announced hash is that of the information which the announced node gives"
    COMPONENT = "an external component, once configured, connects on port 5347 and answers a client"
    EVENTS = "an event reaches a contact that announced its interest"
    BOSH = "session over `https://…/http-bind`"
    WEBSOCKET = "upgrade of `wss://…/xmpp-websocket`, and stream features in a frame"
    HOST_META = "both ways to connect in `host-meta` and `host-meta.json`"
    MESSAGING = "roster, subscription, presence and messages between two users"
    AVATAR = "an avatar published as event is in the vCard, and its hash in presence"
    VCARD = "a vCard set by one user is read by another"
    CARBONS = "a sent message is copied to the sender's other client"
    BLOCKING = "a blocked contact's message does not arrive, the next one after unblocking does"
    ROOM = "two clients talk in a new room"
    INVITATION = "a direct invitation arrives"
    BOOKMARKS = "a bookmark published as event is read from private XML storage"
    ROOM_ARCHIVE = "what was said in a room is in the room's archive"
    SELF_PING = "an occupant pings itself"
    PRIVATE_ITEM = "an item stored as private is read by its owner and refused to a contact"
    PRIVATE_XML = "an element is stored and read"
    RESUMPTION = "a stream is resumed after its connection was lost"
    ARCHIVE = "a message is in the sender's archive"
    UPLOAD = "a file is uploaded over HTTPS to the slot that was given, and downloaded"
    CLIENT_STATE = "a client says inactive and active"
    PUSH = "notifications are enabled and disabled"
    NO_SERVICES = "the list of services is answered; it is empty until a service is configured"
    TURN = "a TURN server, once configured, is listed with credentials"


@dataclass(frozen=True)
class Observation:
    """Everything that was seen, and why the other exchanges did not succeed."""

    features: frozenset[Feature]
    exchanges: frozenset[Exchange]
    failures: dict[Exchange, str]

    def has(self, wanted: Feature | Exchange) -> bool:
        """Whether it was seen."""
        return wanted in (self.features if isinstance(wanted, Feature) else self.exchanges)
