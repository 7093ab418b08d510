"""nginx in front of a server, configured by the files that `deploy/` has for users."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import docker

from scripts import paths
from tests import peers
from tests.integration.authority import Pair
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer

HTTP, HTTPS, CLIENTS, SERVERS = 80, 443, 5222, 5269
# What a package of nginx has around those files, here without anything to be written but /run/nginx.
_MAIN = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
pid /run/nginx/nginx.pid;
error_log stderr notice;
events {}
http {
    access_log /dev/stdout;
    client_body_temp_path /run/nginx/body;
    proxy_temp_path /run/nginx/proxy;
    fastcgi_temp_path /run/nginx/fastcgi;
    scgi_temp_path /run/nginx/scgi;
    uwsgi_temp_path /run/nginx/uwsgi;
    include /etc/nginx/conf.d/*.conf;
}
stream {
    include /etc/nginx/stream.d/*.conf;
}
"""


@contextmanager
def serving(
    client: docker.DockerClient, image: LoadedImage, network: Network, number: int, certificate: Pair, prosody: str
) -> Iterator[Peer]:
    """Nginx as member `number` of `network`, with this certificate, in front of the address `prosody`."""
    peer = Peer(
        client, image, network, number,
        command=["/usr/sbin/nginx", "-g", "daemon off;"],
        files={
            "/etc/nginx/nginx.conf": _MAIN,
            "/etc/nginx/conf.d/prosody.conf": (paths.ROOT / "deploy" / "nginx.conf").read_bytes(),
            "/etc/nginx/stream.d/prosody.conf": (paths.ROOT / "deploy" / "nginx-stream.conf").read_bytes(),
            "/etc/nginx/certs/chat.example.crt": certificate.full,
            "/etc/nginx/certs/chat.example.key": certificate.key,
        },
        tmpfs=["/run/nginx"],
        ports=[HTTP, HTTPS, CLIENTS, SERVERS],
        options={"extra_hosts": {"prosody": prosody}},
    )  # fmt: skip
    with peers.running(peer, lambda: "start worker process" in peer.log()):
        yield peer
