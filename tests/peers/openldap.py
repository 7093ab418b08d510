"""An OpenLDAP directory of accounts, which answers plainly, with StartTLS and over TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import docker
from docker.types import Ulimit

from tests import peers
from tests.integration.authority import Authority
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer

BASE = "dc=chat,dc=example"
PEOPLE = f"ou=people,{BASE}"
READER, READER_PASSWORD = f"cn=reader,{BASE}", 'reader\'s "password" {}'
NAME = "ldap.chat.example"  # in its certificate
_ROOT, _ROOT_PASSWORD = f"cn=root,{BASE}", "root"
_CONFIGURATION = f"""
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile /tls.crt
TLSCertificateKeyFile /tls.key
database mdb
suffix "{BASE}"
rootdn "{_ROOT}"
rootpw "{_ROOT_PASSWORD}"
directory /data
dbnosync
access to attrs=userPassword by dn.exact="{READER}" write by anonymous auth by * none
access to * by dn.exact="{READER}" read by * none
"""
# Its log names the operations of each connection; the data is loaded once and kept when it is started again.
_START = """
set -e
[ -e /data/data.mdb ] || slapadd -q -f /slapd.conf -l /data.ldif
exec slapd -f /slapd.conf -h 'ldap:/// ldaps:///' -d stats
"""


@dataclass
class Openldap:
    """The directory; it may be stopped and started again."""

    peer: Peer

    def is_ready(self) -> bool:
        """Whether it answers."""
        return self.peer.execute("ldapsearch", "-x", "-b", "", "-s", "base").status == 0

    def modify(self, entry: str, attribute: str, value: str) -> None:
        """Give an attribute of an entry another value."""
        change = f"dn: {entry}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n"
        outcome = self.peer.execute(
            "sh", "-c", 'printf %s "$1" | ldapmodify -x -D "$2" -w "$3"', "-", change, _ROOT, _ROOT_PASSWORD
        )
        assert outcome.status == 0, outcome.text

    def log(self) -> str:
        """The operations that it was asked for."""
        return self.peer.log()

    def stop(self) -> None:
        """Kill it; what it holds stays."""
        self.peer.stop()

    def start(self) -> None:
        """Start it again."""
        self.peer.start(self.is_ready)


def _entry(name: str, attributes: Mapping[str, str]) -> str:
    return "\n".join([f"dn: {name}", *(f"{attribute}: {value}" for attribute, value in attributes.items())]) + "\n"


@contextmanager
def serving(
    client: docker.DockerClient,
    image: LoadedImage,
    network: Network,
    number: int,
    authority: Authority,
    people: Mapping[str, Mapping[str, str]],
) -> Iterator[Openldap]:
    """The directory as member `number` of `network`, with `people`: names and attributes of inetOrgPerson."""
    entries = [
        _entry(BASE, {"objectClass": "domain"}),
        _entry(READER, {"objectClass": "person", "sn": "reader", "userPassword": READER_PASSWORD}),
        _entry(PEOPLE, {"objectClass": "organizationalUnit"}),
        *(
            _entry(f"uid={name},{PEOPLE}", {"objectClass": "inetOrgPerson", "cn": name, "sn": name} | dict(attributes))
            for name, attributes in people.items()
        ),
    ]
    pair = authority.issue([NAME])
    found = Openldap(
        Peer(
            client, image, network, number,
            command=["sh", "-c", _START],
            files={
                "/slapd.conf": _CONFIGURATION, "/data.ldif": "\n".join(entries), "/tls.crt": pair.full,
                "/tls.key": pair.key,
            },
            # It allocates memory for as many connections as it may have.
            options={"ulimits": [Ulimit(name="nofile", soft=1024, hard=1024)]},
        )
    )  # fmt: skip
    with peers.running(found.peer, found.is_ready):
        yield found
