"""An ejabberd with accounts, rooms and uploads, which federates with servers that have a valid certificate only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import docker

from tests import peers
from tests.integration.authority import Pair
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer
from tests.peers.xmpp import CLIENTS, XmppServer

# The program that `erl` and `ejabberdctl` start, which are scripts that need more scripts.
_START = """
export ERL_LIBS=$(echo /usr/lib/*-linux-gnu) BINDIR=$(echo /usr/lib/erlang/erts-*/bin)
export ROOTDIR=/usr/lib/erlang EMU=beam PROGNAME=erl HOME=/data
export EJABBERD_CONFIG_PATH=/ejabberd.yml EJABBERD_LOG_PATH=/data/ejabberd.log
exec "$BINDIR/erlexec" -noinput -mnesia dir '"/data/database"' -s ejabberd -eval "$ACCOUNTS"
"""
_READY = "accounts are made"


class Ejabberd(XmppServer):
    """The server."""

    files = 5443

    def is_ready(self) -> bool:
        """Whether it has started and made the accounts."""
        return _READY in self.peer.log()


def names(domain: str) -> list[str]:
    """All names that a server of `domain` needs a certificate for."""
    return [domain, f"rooms.{domain}", f"upload.{domain}"]


@contextmanager
def serving(
    client: docker.DockerClient,
    image: LoadedImage,
    network: Network,
    number: int,
    domain: str,
    *,
    pair: Pair,
    authority: bytes,
    accounts: Mapping[str, str],
    resolver: str,
    port: int = 5269,
) -> Iterator[Ejabberd]:
    """The server as member `number` of `network`; other servers reach it on `port`.

    `authority` signs the certificates of others, `accounts` are passwords by user name.
    """
    listening = {"ip": "::", "tls": False}
    files = f"https://upload.{domain}:{Ejabberd.files}/upload"
    configuration: dict[str, Any] = {
        "hosts": [domain],
        "loglevel": "info",
        "certfiles": ["/pair.pem"],
        "ca_file": "/authorities.pem",
        "acme": {"auto": False},
        "auth_password_format": "scram",
        "s2s_use_starttls": "required",
        "listen": [
            listening | {"port": CLIENTS, "module": "ejabberd_c2s", "starttls_required": True},
            listening | {"port": port, "module": "ejabberd_s2s_in"},
            {"port": Ejabberd.files, "module": "ejabberd_http", "tls": True,
             "request_handlers": {"/upload": "mod_http_upload"}},
        ],
        "modules": {
            "mod_disco": {},
            "mod_http_upload": {
                "access": "all", "docroot": "/data/files", "host": f"upload.{domain}",
                "get_url": files, "put_url": files,
            },
            "mod_muc": {"host": f"rooms.{domain}"},
            "mod_ping": {},
            "mod_roster": {},
            "mod_s2s_bidi": {},
        },
    }  # fmt: skip
    # Terms of Erlang, whose strings are those of JSON.
    made = "".join(
        f"ok = ejabberd_auth:try_register(<<{json.dumps(user)}>>, <<{json.dumps(domain)}>>, <<{json.dumps(word)}>>), "
        for user, word in accounts.items()
    )
    found = Ejabberd(
        Peer(
            client, image, network, number,
            command=["/bin/sh", "-c", _START],
            # JSON is YAML.
            files={
                "/ejabberd.yml": json.dumps(configuration), "/pair.pem": pair.full + pair.key,
                "/authorities.pem": authority, "/etc/resolv.conf": resolver,
            },
            environment={"ACCOUNTS": f'{made}io:format("{_READY}~n").'},
            tmpfs=["/data"],
            ports=[CLIENTS, Ejabberd.files],
        ),
        domain,
    )  # fmt: skip
    with peers.running(found.peer, found.is_ready):
        yield found
