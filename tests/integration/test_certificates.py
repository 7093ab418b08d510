"""Certificates as other programs leave them: which one is served, what is said, and how renewed ones arrive."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
import slixmpp
from cryptography import x509

from tests.integration.authority import Authority, Pair
from tests.integration.clients import connected
from tests.integration.containers import CONFINED, LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server

ALICE, ALICE_PASSWORD = next(iter(ACCOUNTS.items()))
ROOMS = f"conference.{DOMAIN}"
UPLOADS = f"upload.{DOMAIN}"
FOLDER = "/etc/prosody/certs"
_NAMES = (DOMAIN, f"*.{DOMAIN}")
_STARTTLS, _DIRECT_TLS, _HTTPS = 5222, 5223, 5281
_PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (_STARTTLS, _DIRECT_TLS, _HTTPS)}
_SHARED_MEMORY = "/dev/shm/prosody-"  # noqa: S108  (a place in the container)
_PROMISE = 60.0  # seconds within which a change is noticed


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issues the certificates of all tests."""
    return Authority()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that is mounted where the image looks for certificates."""
    path = tmp_path / "certificates"
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    return path


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder, readable by all."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)


@contextmanager
def serving(
    client: docker.DockerClient, image: LoadedImage, folder: Path, options: Mapping[str, Any] | None = None
) -> Iterator[Server]:
    """A started server with Alice's account and `folder` as its folder of certificates."""
    variables = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": f"{ALICE}:{ALICE_PASSWORD}"}
    published = {"ports": _PORTS} | dict(options or {})
    server = Server(client, image, variables, published, {str(folder): {"bind": FOLDER, "mode": "ro"}})
    try:
        server.start()
        yield server
    finally:
        server.remove()


def refused(client: docker.DockerClient, image: LoadedImage, folder: Path) -> str:
    """Output of a container that must end because of its certificates."""
    container = client.containers.create(
        image.name,
        environment={"PROSODY_DOMAIN": DOMAIN},
        volumes={str(folder): {"bind": FOLDER, "mode": "ro"}},
        **CONFINED,
    )
    try:
        container.start()
        status = int(container.wait(timeout=60)["StatusCode"])
        output = container.logs().decode(errors="replace")
        assert status == 78, output
        return str(output)
    finally:
        container.remove(force=True, v=True)


def _receive_until(connection: socket.socket, end: bytes) -> None:
    received = b""
    while end not in received:
        chunk = connection.recv(4096)
        assert chunk, f"the server closed the connection after {received!r}"
        received += chunk


def serial(server: Server, port: int, authority: Authority | None, host: str = DOMAIN) -> int:
    """Serial number of the certificate that a client is shown; verified unless there is no authority."""
    context = ssl.create_default_context(cadata=authority.root.decode()) if authority else ssl.create_default_context()
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", server.port(port)), timeout=10) as connection:
        if port == _STARTTLS:
            connection.sendall(
                f"<?xml version='1.0'?><stream:stream to='{host}' version='1.0' xmlns='jabber:client'"
                " xmlns:stream='http://etherx.jabber.org/streams'>".encode()
            )
            _receive_until(connection, b"</stream:features>")
            connection.sendall(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            _receive_until(connection, b"<proceed")
        name = host.encode("idna").decode()
        with context.wrap_socket(connection, server_hostname=name) as encrypted:
            shown = encrypted.getpeercert(binary_form=True)
            assert shown is not None
            return x509.load_der_x509_certificate(shown).serial_number


def serials(server: Server, authority: Authority | None) -> list[int]:
    """What is shown by STARTTLS, direct TLS and HTTPS."""
    return [serial(server, port, authority) for port in (_STARTTLS, _DIRECT_TLS, _HTTPS)]


def wait_until(server: Server, condition: Callable[[], bool]) -> float:
    """Seconds until a change is visible, which must be within the time that is promised."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < _PROMISE, server.log()
        time.sleep(0.25)
    return time.monotonic() - started


# ---- Layouts


def _plain(pair: Pair) -> dict[str, bytes]:
    return {f"{DOMAIN}.crt": pair.full, f"{DOMAIN}.key": pair.key}


def _dashed(pair: Pair) -> dict[str, bytes]:
    """As mkcert names them."""
    return {"chat.pem": pair.full, "chat-key.pem": pair.key}


def _combined(pair: Pair) -> dict[str, bytes]:
    """As HAProxy wants it."""
    return {"all.pem": pair.full + pair.traditional_key}


def _key_first(pair: Pair) -> dict[str, bytes]:
    return {"all.pem": b"Bag Attributes\n" + pair.key + pair.chain + pair.certificate}


def _windows(pair: Pair) -> dict[str, bytes]:
    text = b"\xef\xbb\xbf# bought in a shop\n" + pair.full
    return {"chat.cer": text.replace(b"\n", b"\r\n"), "chat.key": pair.traditional_key.replace(b"\n", b"\r\n")}


def _certbot(pair: Pair, number: int = 1) -> dict[str, bytes]:
    return {
        f"archive/{DOMAIN}/cert{number}.pem": pair.certificate,
        f"archive/{DOMAIN}/chain{number}.pem": pair.chain,
        f"archive/{DOMAIN}/fullchain{number}.pem": pair.full,
        f"archive/{DOMAIN}/privkey{number}.pem": pair.key,
    }


def _certbot_copied(pair: Pair) -> dict[str, bytes]:
    """Its folder live alone, with the links followed."""
    return {
        f"{DOMAIN}/cert.pem": pair.certificate,
        f"{DOMAIN}/chain.pem": pair.chain,
        f"{DOMAIN}/fullchain.pem": pair.full,
        f"{DOMAIN}/privkey.pem": pair.key,
        "README": b"This directory contains your keys and certificates.",
    }


def _caddy(pair: Pair) -> dict[str, bytes]:
    place = f"caddy/certificates/acme-v02.api.letsencrypt.org-directory/{DOMAIN}/{DOMAIN}"
    return {f"{place}.crt": pair.full, f"{place}.key": pair.traditional_key, f"{place}.json": b'{"sans": []}'}


def _cert_manager(pair: Pair) -> dict[str, bytes]:
    return {"chat/tls.crt": pair.full, "chat/tls.key": pair.traditional_key, "chat/ca.crt": pair.chain}


def _dumper(pair: Pair) -> dict[str, bytes]:
    return {f"{DOMAIN}/certificate.crt": pair.full, f"{DOMAIN}/privatekey.key": pair.traditional_key}


def _dumper_flat(pair: Pair) -> dict[str, bytes]:
    return {f"certs/{DOMAIN}.crt": pair.full, f"private/{DOMAIN}.key": pair.traditional_key}


def _secrets(pair: Pair) -> dict[str, bytes]:
    return {"chat_cert": pair.full, "chat_key": pair.key, "database_password": b"secret"}


def _acme_entry(pair: Pair, domain: str) -> dict[str, Any]:
    return {
        "domain": {"main": domain, "sans": [f"*.{domain}"]},
        "certificate": base64.b64encode(pair.full).decode(),
        "key": base64.b64encode(pair.traditional_key).decode(),
        "Store": "default",
    }


def _traefik(pair: Pair, domain: str = DOMAIN) -> dict[str, bytes]:
    store = {
        "staging": {"Account": None, "Certificates": None},
        "letsencrypt": {
            "Account": {"Email": "", "PrivateKey": "MIIJ", "KeyType": "4096"},
            "Certificates": [_acme_entry(pair, domain)],
        },
    }
    return {"acme.json": json.dumps(store, indent=2).encode()}


@pytest.mark.parametrize(
    ("arrange", "source"),
    [
        (_plain, f"{DOMAIN}.crt"),
        (_dashed, "chat.pem"),
        (_combined, "all.pem"),
        (_key_first, "all.pem"),
        (_windows, "chat.cer"),
        (_certbot_copied, f"{DOMAIN}/fullchain.pem"),
        (_caddy, f"{DOMAIN}/{DOMAIN}.crt"),
        (_cert_manager, "chat/tls.crt"),
        (_dumper, f"{DOMAIN}/certificate.crt"),
        (_dumper_flat, f"certs/{DOMAIN}.crt"),
        (_secrets, "chat_cert"),
        (_traefik, f"acme.json (letsencrypt, {DOMAIN})"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_layout_is_served_with_its_chain(
    arrange: Callable[[Pair], dict[str, bytes]],
    source: str,
    client: docker.DockerClient,
    image: LoadedImage,
    authority: Authority,
    folder: Path,
) -> None:
    pair = authority.issue(_NAMES)
    put(folder, arrange(pair))

    with serving(client, image, folder) as server:
        assert serials(server, authority) == [pair.serial] * 3
        assert serial(server, _HTTPS, authority, UPLOADS) == pair.serial
        assert server.says(f"certificate of {DOMAIN}:")
        line = next(line for line in server.log().splitlines() if f"certificate of {DOMAIN}:" in line)
        assert source in line
        assert "89 days left" in line
        assert "self-signed" not in server.log()


def test_of_all_that_certbot_keeps_the_newest_is_served(
    client: docker.DockerClient, image: LoadedImage, authority: Authority, folder: Path
) -> None:
    pairs = [authority.issue(_NAMES, valid_from=timedelta(days=-days)) for days in (60, 1, 30)]
    for number, pair in enumerate(pairs, start=1):
        put(folder, _certbot(pair, number))
    live = folder / "live" / DOMAIN
    live.mkdir(parents=True)
    for name in ("cert", "chain", "fullchain", "privkey"):
        # Behind, as in the middle of a renewal.
        (live / f"{name}.pem").symlink_to(f"../../archive/{DOMAIN}/{name}1.pem")
    accounts = folder / "accounts"
    accounts.mkdir(mode=0o700)

    with serving(client, image, folder) as server:
        assert serials(server, authority) == [pairs[1].serial] * 3
        assert "cannot be read" not in server.log()


def test_each_host_gets_its_own(
    client: docker.DockerClient, image: LoadedImage, authority: Authority, folder: Path
) -> None:
    domain, rooms = "münchen.example", "räume.münchen.example"
    pairs = {name: authority.issue([name.encode("idna").decode()], with_rsa=name == domain) for name in (domain, rooms)}
    put(folder, {f"{number}.pem": pair.full + pair.key for number, pair in enumerate(pairs.values())})

    server = Server(
        client,
        image,
        {"PROSODY_DOMAIN": domain, "PROSODY_MUC_DOMAIN": rooms, "PROSODY_UPLOAD_DOMAIN": "none"},
        {"ports": _PORTS},
        {str(folder): {"bind": FOLDER, "mode": "ro"}},
    )

    def is_reachable() -> bool:
        try:
            return serial(server, _STARTTLS, None, domain) != 0
        except (OSError, KeyError, IndexError, TypeError, AssertionError):  # not listening, or not published yet
            return False

    # Other servers are asked for the usual domain.
    server.accepts_clients = is_reachable  # type: ignore[method-assign]
    try:
        server.start()
        for name, pair in pairs.items():
            assert serial(server, _HTTPS, authority, name) == pair.serial
        assert serial(server, _STARTTLS, authority, domain) == pairs[domain].serial

        server.running.kill(signal="SIGHUP")
        server.wait_for(lambda: "Certificates reloaded" in server.log(), "the reload is over")
        for name, pair in pairs.items():
            assert serial(server, _HTTPS, authority, name) == pair.serial
    finally:
        server.remove()


# ---- What is wrong


def _half(pair: Pair) -> dict[str, bytes]:
    return {f"{DOMAIN}.crt": pair.full[: len(pair.full) // 2], f"{DOMAIN}.key": pair.key}


def _half_chain(pair: Pair) -> dict[str, bytes]:
    return {f"{DOMAIN}.crt": pair.full[:-40], f"{DOMAIN}.key": pair.key}


def _half_key(pair: Pair) -> dict[str, bytes]:
    return {f"{DOMAIN}.crt": pair.full, f"{DOMAIN}.key": pair.key[:-40]}


def _half_store(pair: Pair) -> dict[str, bytes]:
    return {"acme.json": _traefik(pair)["acme.json"][:-60]}


def _other_key(pair: Pair) -> dict[str, bytes]:
    return {f"{DOMAIN}.crt": pair.full, f"{DOMAIN}.key": Authority().issue([DOMAIN]).key}


def _encrypted(pair: Pair) -> dict[str, bytes]:
    return {f"{DOMAIN}.crt": pair.full, f"{DOMAIN}.key": pair.encrypted_key}


def _without_key(pair: Pair) -> dict[str, bytes]:
    return {f"{DOMAIN}.crt": pair.full}


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (_half, f"the certificate {FOLDER}/{DOMAIN}.crt is damaged or incomplete"),
        (_half_chain, f"the certificate {FOLDER}/{DOMAIN}.crt is damaged or incomplete"),
        (_half_key, f"the key {FOLDER}/{DOMAIN}.key is damaged or incomplete"),
        (_half_store, f"{FOLDER}/acme.json cannot be read as Traefik's store"),
        (_other_key, "do not belong together"),
        (_encrypted, f"the key {FOLDER}/{DOMAIN}.key is encrypted"),
        (_without_key, f"it is expected beside it, as {DOMAIN}.key"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_what_cannot_be_served_stops_the_start(
    arrange: Callable[[Pair], dict[str, bytes]],
    message: str,
    client: docker.DockerClient,
    image: LoadedImage,
    authority: Authority,
    folder: Path,
) -> None:
    put(folder, arrange(authority.issue(_NAMES)))
    output = refused(client, image, folder)
    assert message in output
    assert f"there is no other certificate for {DOMAIN}" in output
    assert "PRIVATE" not in output


@pytest.mark.parametrize("closed", [f"{DOMAIN}.key", f"{DOMAIN}.crt"])
def test_a_file_of_another_owner_stops_the_start(
    closed: str, client: docker.DockerClient, image: LoadedImage, authority: Authority, folder: Path
) -> None:
    put(folder, _plain(authority.issue(_NAMES)))
    (folder / closed).chmod(0o600)
    assert f"{FOLDER}/{closed} cannot be read by uid 5222: Permission denied" in refused(client, image, folder)


def test_links_of_certbot_without_their_targets_are_explained(
    client: docker.DockerClient, image: LoadedImage, folder: Path
) -> None:
    (folder / DOMAIN).mkdir(mode=0o755)
    for name in ("cert", "chain", "fullchain", "privkey"):
        (folder / DOMAIN / f"{name}.pem").symlink_to(f"../../archive/{DOMAIN}/{name}1.pem")
    assert "leads nowhere in this container" in refused(client, image, folder)


def test_what_is_wrong_with_one_is_only_noted_where_there_is_another(
    client: docker.DockerClient, image: LoadedImage, authority: Authority, folder: Path
) -> None:
    good, newer = (authority.issue(_NAMES, valid_from=timedelta(days=-days)) for days in (9, 1))
    put(folder, {"good.pem": good.full + good.key, "half.crt": newer.full[:-40], "half.key": newer.key})

    with serving(client, image, folder) as server:
        assert serials(server, authority) == [good.serial] * 3
        assert server.says(f"{FOLDER}/half.crt is damaged or incomplete")


def run_lua(server: Server, program: str) -> str:
    """Output of a program that runs within the container."""
    outcome = server.execute("/usr/bin/lua5.4", "-e", program)
    assert outcome.status == 0, outcome.text
    return outcome.output


def metrics(server: Server) -> str:
    """What the server tells Prometheus, asked from within the container."""
    return run_lua(server, "io.write((require('socket.http').request('http://127.0.0.1:5280/metrics')))")


@pytest.mark.parametrize(
    ("valid_for", "level", "message"),
    [
        (timedelta(days=13, hours=1), "warn", "expires in 13 days"),
        (timedelta(days=2), "error", "has expired"),
    ],
    ids=["soon", "expired"],
)
def test_the_log_and_the_metrics_tell_when_a_certificate_expires(
    valid_for: timedelta,
    level: str,
    message: str,
    client: docker.DockerClient,
    image: LoadedImage,
    authority: Authority,
    folder: Path,
) -> None:
    start = timedelta(days=-10) if level == "error" else timedelta(hours=-1)
    pair = authority.issue(_NAMES, valid_from=start, valid_for=valid_for + timedelta(hours=1))
    put(folder, _plain(pair))
    with serving(client, image, folder) as server:
        assert serials(server, None) == [pair.serial] * 3
        assert server.says(message), server.log()
        lines = [line for line in server.log().splitlines() if message in line]
        assert len(lines) == 1, server.log()
        assert level in lines[0]
        not_after = x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc
        name = "prosody_mod_container_certificates__not_after_seconds"
        assert f'{name}{{host="{DOMAIN}"}} {int(not_after.timestamp())}' in metrics(server)


def served_folder(server: Server) -> tuple[str, list[str]]:
    """Where the server has its copies, and the permissions of that folder, of the one within it and of a copy."""
    program = """
        package.path = "/usr/local/lib/prosody-container/?.lua;" .. package.path
        local lfs = require "lfs"
        local folder = require("container.runtime").directory()
        io.write(folder)
        for _, name in ipairs { "", "/certificates", "/certificates/chat.example.pem" } do
            io.write(" ", lfs.attributes(folder .. name, "permissions"))
        end
    """
    path, *permissions = run_lua(server, program).split()
    return path, permissions


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({}, _SHARED_MEMORY),
        ({"tmpfs": {"/run/prosody": "uid=5222,mode=0755"}}, "/run/prosody/prosody-"),
        ({"tmpfs": {"/run/prosody": "uid=0,mode=0755"}}, _SHARED_MEMORY),
        ({"ipc_mode": "none"}, "/var/lib/prosody/container-runtime"),
    ],
    ids=["memory", "run", "closed run", "data"],
)
def test_what_is_served_is_closed_to_others(
    options: dict[str, Any],
    place: str,
    client: docker.DockerClient,
    image: LoadedImage,
    authority: Authority,
    folder: Path,
) -> None:
    pair = authority.issue(_NAMES)
    put(folder, _plain(pair))
    with serving(client, image, folder, options) as server:
        assert serials(server, authority) == [pair.serial] * 3
        path, permissions = served_folder(server)
        assert path.startswith(place)
        assert permissions == ["rwx------", "rwx------", "rw-------"]


def test_servers_that_share_memory_do_not_share_certificates(
    client: docker.DockerClient, image: LoadedImage, authority: Authority, folder: Path
) -> None:
    pairs = [authority.issue(_NAMES) for _ in range(2)]
    folders = [folder / name for name in ("one", "two")]
    for own_folder, pair in zip(folders, pairs, strict=True):
        put(own_folder, _plain(pair))
        own_folder.chmod(0o755)
    with (
        serving(client, image, folders[0], {"ipc_mode": "shareable"}) as one,
        serving(client, image, folders[1], {"ipc_mode": f"container:{one.running.id}"}) as two,
    ):
        for server, pair in zip((one, two), pairs, strict=True):
            assert serials(server, authority) == [pair.serial] * 3
        assert served_folder(one) != served_folder(two)
        assert served_folder(two)[0].startswith(_SHARED_MEMORY)


# ---- Renewal


def test_a_renewed_certificate_arrives_and_no_connection_is_lost(
    client: docker.DockerClient, image: LoadedImage, authority: Authority, folder: Path, tmp_path: Path
) -> None:
    first, second = (authority.issue(_NAMES, valid_from=timedelta(hours=-hours)) for hours in (9, 1))
    put(folder, _plain(first))
    root = tmp_path / "root.pem"
    root.write_bytes(authority.root)

    async def scenario(server: Server) -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, root) as alice:
            lost: list[Any] = []
            alice.add_event_handler("disconnected", lost.append)
            assert serials(server, authority) == [first.serial] * 3

            put(folder, _plain(second) | {f"{DOMAIN}.crt": second.full[:-40]})
            message = "is damaged or incomplete"
            await asyncio.to_thread(wait_until, server, lambda: message in server.log())
            assert serials(server, authority) == [first.serial] * 3, "a half-written file was used"

            put(folder, _plain(second))
            renewed = [second.serial] * 3
            await asyncio.to_thread(wait_until, server, lambda: serials(server, authority) == renewed)
            assert serial(server, _HTTPS, authority, UPLOADS) == second.serial

            await alice.plugin["xep_0199"].ping(slixmpp.JID(DOMAIN))
            assert not lost

    with serving(client, image, folder) as server:
        asyncio.run(scenario(server))


def _put_version(secret: Path, pair: Pair, version: str) -> None:
    """Write a secret the way kubelet does: a new folder, then one link is replaced."""
    put(secret, {f"{version}/tls.crt": pair.full, f"{version}/tls.key": pair.traditional_key})
    temporary = secret / "..data_tmp"
    temporary.symlink_to(version)
    temporary.rename(secret / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (secret / name).is_symlink():
            (secret / name).symlink_to(f"..data/{name}")


def test_renewals_of_kubernetes_traefik_and_certbot_arrive(
    client: docker.DockerClient, image: LoadedImage, authority: Authority, folder: Path
) -> None:
    hosts = (DOMAIN, ROOMS, UPLOADS)

    def renew(number: int) -> dict[str, int]:
        pairs = {host: authority.issue([host], valid_from=timedelta(hours=number - 9)) for host in hosts}
        _put_version(folder / "secret", pairs[DOMAIN], f"..2026_11_25_{number}")
        put(folder / "traefik", _traefik(pairs[ROOMS], ROOMS))
        put(folder / "certbot", _certbot(pairs[UPLOADS], number))
        return {host: pair.serial for host, pair in pairs.items()}

    def shown(server: Server) -> dict[str, int]:
        return {host: serial(server, _HTTPS, authority, host) for host in hosts}

    for name in ("secret", "traefik", "certbot"):
        (folder / name).mkdir(mode=0o755)
    first = renew(1)
    with serving(client, image, folder) as server:
        assert shown(server) == first
        second = renew(2)
        wait_until(server, lambda: shown(server) == second)


def test_the_first_certificate_takes_the_place_of_the_self_signed_one_and_stays(
    client: docker.DockerClient, image: LoadedImage, authority: Authority, folder: Path
) -> None:
    pair = authority.issue(_NAMES)
    with serving(client, image, folder) as server:
        assert server.says("made a self-signed certificate")
        assert pair.serial not in serials(server, None)

        put(folder, _combined(pair))
        wait_until(server, lambda: serials(server, None) == [pair.serial] * 3)
        assert serials(server, authority) == [pair.serial] * 3

        (folder / "all.pem").unlink()
        wait_until(server, lambda: f"there is no valid certificate for {DOMAIN} any more" in server.log())
        assert serials(server, authority) == [pair.serial] * 3


def test_a_reload_takes_what_is_there_at_once(
    client: docker.DockerClient, image: LoadedImage, authority: Authority, folder: Path
) -> None:
    first, second = (authority.issue(_NAMES, valid_from=timedelta(hours=-hours)) for hours in (9, 1))
    put(folder, _plain(first))
    with serving(client, image, folder) as server:
        put(folder, _plain(second))
        server.running.kill(signal="SIGHUP")
        server.wait_for(lambda: "Certificates reloaded" in server.log(), "the reload is over")
        server.wait_for(lambda: serials(server, authority) == [second.serial] * 3, "the new certificate is shown")
