"""Two onion services federate through a Tor network of their own. What else Tor means to a server is in test_onion."""

from __future__ import annotations

from pathlib import Path

import docker

from tests.integration import networks
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage
from tests.integration.servers import Server
from tests.integration.test_onion import PASSWORD, talk
from tests.peers import tor

_TOR, _FIRST, _SECOND = 2, 3, 4  # members of the network


def test_two_onion_services_talk_over_tor(
    client: docker.DockerClient, images: Images, image: LoadedImage, tmp_path: Path
) -> None:
    with (
        networks.network(client) as network,
        tor.running(client, images.peer("tor"), network, _TOR, [_FIRST, _SECOND]) as found,
    ):
        servers = [
            Server(
                client, image,
                {
                    "PROSODY_DOMAIN": found.address(member),
                    "PROSODY_ACCOUNTS": f"user@{found.address(member)}:{PASSWORD}",
                    "PROSODY_MUC_DOMAIN": "none",
                    "PROSODY_UPLOAD_DOMAIN": "none",
                    "PROSODY_TOR": "onion",
                    "PROSODY_TOR_PROXY_HOST": found.peer.address,
                },
                network.member(member),
            )
            for member in (_FIRST, _SECOND)
        ]  # fmt: skip
        try:
            for server in servers:
                server.start()
            found.wait_until_reached()
            talk(servers[0], servers[1], tmp_path)
        finally:
            for server in servers:
                server.remove()
