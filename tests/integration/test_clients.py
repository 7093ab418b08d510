"""Clients that people use, against the image: messages, a file, a room, and its certificate."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import docker
import httpx
import pytest
from slixmpp import JID

from tests.integration import networks
from tests.integration.authority import Authority
from tests.integration.clients import connected
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.peers import profanity, sendxmpp
from tests.peers.profanity import Profanity
from tests.peers.sendxmpp import Sendxmpp

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
ROOMS, UPLOADS = f"conference.{DOMAIN}", f"upload.{DOMAIN}"
_PICTURE = secrets.token_bytes(50_000)
_GREETING = "good-evening"
_FILES = {"/picture.png": _PICTURE, "/greeting": _GREETING.encode()}
_PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5281)}


@dataclass(frozen=True)
class Scene:
    """A server with a certificate of `root`, and two clients that trust it."""

    server: Server
    root: Path
    alice: Profanity
    bob: Sendxmpp


@pytest.fixture(scope="module")
def scene(
    client: docker.DockerClient, images: Images, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Alice sits at a terminal; Bob has a client of the command line."""
    authority, folder = Authority(), tmp_path_factory.mktemp("certificates")
    names = (DOMAIN, ROOMS, UPLOADS)
    pair = authority.issue(names)
    folder.chmod(0o755)
    for name, content in {"chat.crt": pair.full, "chat.key": pair.key, "root.pem": authority.root}.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o644)
    with ExitStack() as stack:
        network = stack.enter_context(networks.network(client))
        accounts = "\n".join(f"{jid}:{password}" for jid, password in ACCOUNTS.items())
        server = Server(
            client, image, {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts},
            network.member(2) | {"ports": _PORTS}, {str(folder): {"bind": "/etc/prosody/certs", "mode": "ro"}},
        )  # fmt: skip
        stack.callback(server.remove)
        server.start()
        hosts = dict.fromkeys(names, network.address(2))
        alice = stack.enter_context(
            profanity.started(client, images.peer("profanity"), network, 3, hosts, authority.root, _FILES)
        )
        alice.log_in(ALICE, ALICE_PASSWORD)
        bob = stack.enter_context(
            sendxmpp.listening(
                client, images.peer("sendxmpp"), network, 4, hosts, authority.root, _FILES, BOB, BOB_PASSWORD
            )
        )
        yield Scene(server, folder / "root.pem", alice, bob)


def test_they_write_to_each_other(scene: Scene) -> None:
    scene.alice.enter(f"/msg {BOB} Hello Bob")
    scene.bob.receives(f"{ALICE}: Hello Bob")
    sent = scene.bob.run("--message=/greeting", ALICE)
    assert sent.status == 0, sent.text
    scene.alice.sees(_GREETING)


@pytest.mark.parametrize("options", [[], ["--tls", f"--jserver={DOMAIN}:5223"]], ids=["STARTTLS", "direct TLS"])
def test_a_server_without_a_trusted_certificate_is_left(options: list[str], scene: Scene) -> None:
    bob = scene.bob
    assert bob.run(*options, "--message=/greeting", BOB).status == 0
    bob.receives(f"{BOB}: {_GREETING}")
    seen = len(scene.server.log())
    refused = bob.distrusting(*options, "--message=/greeting", BOB)
    assert refused.status != 0
    assert "certificate signed by unknown authority" in refused.text
    assert "Authenticated" not in scene.server.log()[seen:]


def test_a_file_is_uploaded_and_its_address_sent(scene: Scene) -> None:
    context = ssl.create_default_context(cafile=str(scene.root))

    def downloaded(address: str) -> bytes:
        here = httpx.URL(address).copy_with(host="127.0.0.1", port=scene.server.port(5281))
        with httpx.Client(verify=context) as web:
            extensions = {"sni_hostname": UPLOADS}
            answer = web.get(here, headers={"Host": UPLOADS}, extensions=extensions).raise_for_status()
            return answer.content

    sent = scene.bob.run("--http-upload=/picture.png", BOB)
    assert sent.status == 0, sent.text
    address = scene.bob.receives(rf"{BOB}: (https://{UPLOADS}:5281/\S+)")
    assert downloaded(address) == _PICTURE
    scene.alice.enter(f"/msg {BOB} a picture")
    scene.alice.enter("/sendfile /picture.png")
    address = scene.bob.receives(rf"{ALICE}: (https://{UPLOADS}:5281/\S+)")
    assert downloaded(address) == _PICTURE


def test_they_meet_in_a_room(scene: Scene) -> None:
    room = f"tea@{ROOMS}"

    async def scenario() -> None:
        async with connected(scene.server.port(), ALICE, ALICE_PASSWORD, scene.root) as other:
            other.register_plugin("xep_0045")
            await other.plugin["xep_0045"].join_muc_wait(JID(room), "other")
            await asyncio.to_thread(scene.alice.enter, "from the terminal")
            assert await other.next_message() == "from the terminal"
            sent = await asyncio.to_thread(scene.bob.run, "--chatroom", "--alias=bob", "--message=/greeting", room)
            assert sent.status == 0, sent.text
            assert await other.next_message() == _GREETING
            await asyncio.to_thread(scene.alice.sees, _GREETING)

    scene.alice.enter(f"/join {room} nick alice")
    scene.alice.sees("/room")  # a new one, that is to be configured or accepted as it is
    scene.alice.enter("/room accept")
    scene.alice.sees("unlocked")
    asyncio.run(scenario())
