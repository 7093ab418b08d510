"""File uploads (XEP-0363): what is accepted, for how long, and how it is given to browsers."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import docker
import httpx
import pytest
import slixmpp
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Waiter
from slixmpp.xmlstream.matcher import MatcherId

from tests.integration import servers, streams, web
from tests.integration.clients import connected
from tests.integration.containers import PATIENCE, LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.integration.uploads import NAMESPACE, UPLOADS, Slot, ask_for_slot

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
# Services beside the usual one, each with a limit of its own.
DAILY, TOTAL, PICTURES = f"daily.{DOMAIN}", f"total.{DOMAIN}", f"pictures.{DOMAIN}"
_LIMIT = 200_000  # bytes of a file, more than any buffer of the server
_QUOTA = 1000  # bytes, of one user in a day or of all together
_LIFETIME = 2  # seconds
_ENVIRONMENT = {
    "PROSODY_UPLOAD_SIZE_LIMIT": str(_LIMIT),
    "PROSODY_COMPONENTS": ", ".join(f"{name}:http_file_share" for name in (UPLOADS, DAILY, TOTAL, PICTURES)),
    "PROSODY_UPLOAD_DAILY_QUOTA__DAILY_CHAT_EXAMPLE": str(_QUOTA),
    "PROSODY_UPLOAD_GLOBAL_QUOTA__TOTAL_CHAT_EXAMPLE": str(_QUOTA),
    "PROSODY_UPLOAD_EXPIRES_AFTER__TOTAL_CHAT_EXAMPLE": str(_LIFETIME),
    "PROSODY_UPLOAD_ALLOWED_FILE_TYPES__PICTURES_CHAT_EXAMPLE": "image/*, text/plain",
    # Seconds after which Prosody looks again for what is to be done daily.
    "PROSODY_OPTION_CRON_CHECK_DELAY": "1",
}
_ORIGIN = "https://web.example"


@dataclass(frozen=True)
class Store:
    """A server with upload services, and its certificate."""

    server: Server
    certificate: Path

    def http(
        self, method: str, url: str, content: bytes = b"", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """The answer to a request."""
        return web.answer(self.server.port(5281), self.certificate, method, url, content, headers)

    def slot(
        self,
        size: int | str,
        content_type: str | None = None,
        name: str | None = "a file",
        *,
        service: str = UPLOADS,
        user: str = ALICE,
    ) -> Slot:
        """A slot for a user; raises IqError if it is refused."""

        async def scenario() -> Slot:
            async with connected(self.server.port(), user, ACCOUNTS[user], self.certificate, available=False) as client:
                return await ask_for_slot(client, name, size, content_type, service=service)

        return asyncio.run(scenario())

    def upload(self, content: bytes, content_type: str | None = None, name: str = "a file") -> Slot:
        """A slot with a file in it."""
        slot = self.slot(len(content), content_type, name)
        assert self.http("PUT", slot.put, content, slot.headers).status_code == 201
        return slot

    def files(self, service: str) -> list[str]:
        """Names of the files that a service keeps."""
        folder = f"/var/lib/prosody/{service.replace('.', '%2e')}/http_file_share"
        names = self.server.shell(
            f"> local names = {{}}; for name in require 'lfs'.dir('{folder}') do table.insert(names, name) end;"
            " return table.concat(names, ' ')"
        )
        return [name for name in names.split() if name.endswith(".bin")]

    def is_tidied(self, service: str) -> bool:
        """Whether a service has removed all files; if not, the next look finds that the last was a day ago."""
        self.server.shell(
            "> for _, task in ipairs(require 'prosody.core.modulemanager'"
            f".get_module('{service}', 'http_file_share').module:get_host_items('task')) do task.last = 0 end"
        )
        return not self.files(service)


@pytest.fixture(scope="module")
def store(client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    ports = {"ports": {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5281)}}
    with servers.serving(client, image, ports, **_ENVIRONMENT) as server:
        yield Store(server, server.certificate(tmp_path_factory.mktemp("uploads")))


# ---- What is accepted


def test_the_largest_file_goes_up_and_comes_down(store: Store) -> None:
    content = secrets.token_bytes(_LIMIT)
    slot = store.upload(content, "application/zip")
    answer = store.http("GET", slot.get)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["Content-Type"] == "application/zip"
    head = store.http("HEAD", slot.get)
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(_LIMIT))


def test_a_larger_file_is_refused_with_the_limit(store: Store) -> None:
    """The limit is also announced (XEP-0363, 4), so that clients need not try."""
    with pytest.raises(IqError) as refusal:
        store.slot(_LIMIT + 1)
    error = refusal.value.iq.xml.find("{jabber:client}error")
    assert error.find("{urn:ietf:params:xml:ns:xmpp-stanzas}not-acceptable") is not None
    assert error.findtext(f"{{{NAMESPACE}}}file-too-large/{{{NAMESPACE}}}max-file-size") == str(_LIMIT)

    async def announced() -> str | None:
        async with connected(store.server.port(), ALICE, ALICE_PASSWORD, store.certificate) as client:
            client.register_plugin("xep_0030")
            information = await client.plugin["xep_0030"].get_info(jid=slixmpp.JID(UPLOADS))
        fields = {field.get("var"): field for field in information.xml.iter("{jabber:x:data}field")}
        return str(fields["max-file-size"].findtext("{jabber:x:data}value"))

    assert asyncio.run(announced()) == str(_LIMIT)


@pytest.mark.parametrize(
    ("size", "name"),
    [("-1", "a"), ("1.5", "a"), ("many", "a"), ("", "a"), ("5", None), ("5", "../a")],
)
def test_requests_that_mean_nothing_are_refused(store: Store, size: str, name: str | None) -> None:
    with pytest.raises(IqError, match="bad-request"):
        store.slot(size, name=name)


def test_one_user_can_upload_so_much_in_a_day(store: Store) -> None:
    store.slot(_QUOTA - 10, service=DAILY)
    with pytest.raises(IqError, match="resource-constraint") as refusal:
        store.slot(11, service=DAILY)
    assert refusal.value.iq["error"]["type"] == "wait"
    store.slot(10, service=DAILY)
    store.slot(11, service=DAILY, user=BOB)


def test_all_together_can_upload_so_much_until_it_expires(store: Store) -> None:
    content = secrets.token_bytes(_QUOTA)
    slot = store.slot(len(content), service=TOTAL)
    assert store.http("PUT", slot.put, content, slot.headers).status_code == 201
    assert store.http("GET", slot.get).content == content
    assert len(store.files(TOTAL)) == 1
    with pytest.raises(IqError, match="resource-constraint") as refusal:
        store.slot(1, service=TOTAL, user=BOB)
    assert refusal.value.iq["error"]["type"] == "wait"
    store.server.wait_for(lambda: store.is_tidied(TOTAL), "the file is removed")
    assert store.http("GET", slot.get).status_code == 404
    store.slot(_QUOTA, service=TOTAL, user=BOB)


@pytest.mark.parametrize("content_type", ["application/pdf", "text/html", None])
def test_other_types_are_refused_where_some_are_named(store: Store, content_type: str | None) -> None:
    for allowed in ("image/png", "text/plain"):
        store.slot(1, allowed, service=PICTURES)
    with pytest.raises(IqError, match="not-acceptable"):
        store.slot(1, content_type, service=PICTURES)


def test_a_slot_takes_one_file_of_the_promised_size(store: Store) -> None:
    content = b"the file"
    slot, other = store.slot(len(content)), store.slot(len(content))
    assert slot.get != other.get
    anonymous = store.http("PUT", slot.put, content)
    assert (anonymous.status_code, anonymous.headers["WWW-Authenticate"]) == (401, "Bearer")
    forged = slot.headers["Authorization"][:-4] + "AAAA"
    for authorization in (forged, other.headers["Authorization"]):
        assert store.http("PUT", slot.put, content, {"Authorization": authorization}).status_code == 403
    for wrong in (content[:-1], content + b"!"):
        assert store.http("PUT", slot.put, wrong, slot.headers).status_code == 413
    assert store.http("GET", slot.get).status_code in (404, 410)
    assert store.http("PUT", slot.put, content, slot.headers).status_code == 201
    assert store.http("PUT", slot.put, b"another!", slot.headers).status_code == 409
    for method in ("DELETE", "POST", "PATCH"):
        assert store.http(method, slot.put, content, slot.headers).status_code in (404, 405)
    assert store.http("GET", slot.get).content == content


# ---- How it is given to browsers


@pytest.mark.parametrize("name", ["Fußgänger.png", "日本語 🙂.txt", "50% off?#&;=+.txt", "\"quoted\" 'name'\\.txt"])
def test_names_come_back_as_they_were(store: Store, name: str) -> None:
    """The name is the last part of the address, and the one under which a browser saves the file (RFC 6266)."""
    slot = store.upload(b"named", "text/plain", name)
    assert unquote(slot.get.rpartition("/")[2]) == name
    answer = store.http("GET", slot.get)
    assert answer.content == b"named"
    kind, _, encoded = answer.headers["Content-Disposition"].partition("; filename*=UTF-8''")
    assert kind == "inline"
    assert re.fullmatch(r"[A-Za-z0-9._~%-]*", encoded)
    assert unquote(encoded) == name


@pytest.mark.parametrize(
    ("content_type", "disposition"),
    [
        ("image/png", "inline"),
        ("image/svg+xml", "inline"),  # its scripts are not run: see the policy
        ("text/html", "attachment"),
        ("Text/HTML; charset=utf-8", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("application/javascript", "attachment"),
        (None, "attachment"),
    ],
)
def test_a_file_cannot_run_scripts(store: Store, content_type: str | None, disposition: str) -> None:
    slot = store.upload(b"<script xmlns='http://www.w3.org/1999/xhtml'>alert(1)</script>", content_type)
    headers = store.http("GET", slot.get).headers
    assert headers["Content-Type"] == (content_type or "application/octet-stream")
    assert headers["Content-Disposition"].startswith(f"{disposition};")
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("service", [UPLOADS, PICTURES])
def test_a_type_cannot_be_more_than_one_header(store: Store, service: str) -> None:
    """A line break, which XML hands on where it is written as a reference, would begin a header or a page."""
    content_type = "image/png&#13;&#10;Content-Type: text/html&#13;&#10;&#13;&#10;&lt;script&gt;alert(1)&lt;/script&gt;"

    async def scenario() -> str:
        async with connected(store.server.port(), ALICE, ALICE_PASSWORD, store.certificate) as client:
            waiter = Waiter("answer", MatcherId("slot"))
            client.register_handler(waiter)
            client.send_raw(
                f"<iq type='get' id='slot' to='{service}'><request xmlns='{NAMESPACE}' filename='a.png' size='5'"
                f" content-type='{content_type}'/></iq>"
            )
            answer = await waiter.wait(int(PATIENCE))
            assert answer is not None
            return streams.text_of(answer.xml)

    answer = asyncio.run(scenario())
    assert "bad-request" in answer
    assert "Bearer" not in answer


def test_a_page_elsewhere_may_upload_and_download(store: Store) -> None:
    """What browsers ask before they send such a request (Fetch, CORS preflight), and what they want to see after it."""
    content = b"from a page"
    slot = store.slot(len(content), "text/plain")
    preflight = store.http(
        "OPTIONS", slot.put,
        headers={
            "Origin": _ORIGIN,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "authorization, content-type",
        },
    )  # fmt: skip
    assert preflight.status_code in (200, 204)
    assert {"GET", "PUT"} <= set(_items(preflight, "Access-Control-Allow-Methods"))
    assert {"authorization", "content-type"} <= {
        name.lower() for name in _items(preflight, "Access-Control-Allow-Headers")
    }
    upload = store.http("PUT", slot.put, content, {**slot.headers, "Origin": _ORIGIN})
    download = store.http("GET", slot.get, headers={"Origin": _ORIGIN})
    assert (upload.status_code, download.status_code) == (201, 200)
    for answer in (preflight, upload, download):
        assert answer.headers["Access-Control-Allow-Origin"] == _ORIGIN


def _items(answer: httpx.Response, name: str) -> list[str]:
    return [item.strip() for item in answer.headers[name].split(",")]


def test_a_download_is_resumed_and_not_repeated(store: Store) -> None:
    content = secrets.token_bytes(1000)
    slot = store.upload(content)
    whole = store.http("GET", slot.get)
    assert whole.headers["Accept-Ranges"] == "bytes"
    rest = store.http("GET", slot.get, headers={"Range": "bytes=400-"})
    assert (rest.status_code, rest.content) == (206, content[400:])
    assert rest.headers["Content-Range"] == "bytes 400-999/1000"
    assert store.http("GET", slot.get, headers={"Range": "bytes=1000-"}).status_code == 416
    # A server may send everything instead (RFC 9110, 14.2), as this one does for parts from the middle.
    assert store.http("GET", slot.get, headers={"Range": "bytes=10-19"}).content in (content, content[10:20])
    again = store.http("GET", slot.get, headers={"If-Modified-Since": whole.headers["Last-Modified"]})
    assert (again.status_code, again.content) == (304, b"")
