"""File uploads as clients make them (XEP-0363): a slot over XMPP, the file over HTTPS."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from tests.integration import streams
from tests.integration.clients import Client, ask
from tests.integration.servers import DOMAIN

NAMESPACE = "urn:xmpp:http:upload:0"
UPLOADS = f"upload.{DOMAIN}"


@dataclass(frozen=True)
class Slot:
    """Where a file may be put, with which headers, and where it can be had afterwards."""

    put: str
    get: str
    headers: dict[str, str]


async def ask_for_slot(
    client: Client, name: str | None, size: int | str, content_type: str | None = None, *, service: str = UPLOADS
) -> Slot:
    """A slot for a file of `size` bytes; raises IqError if it is refused."""
    wanted = {"filename": name, "size": str(size), "content-type": content_type}
    request = ET.Element(f"{{{NAMESPACE}}}request", {key: value for key, value in wanted.items() if value is not None})
    slot = (await ask(client, "get", service, request)).xml.find(f"{{{NAMESPACE}}}slot")
    if slot is None:
        raise streams.ProtocolError("the answer has no slot")
    urls = {kind: slot.find(f"{{{NAMESPACE}}}{kind}").get("url") for kind in ("put", "get")}
    headers = {found.get("name"): found.text or "" for found in slot.iter(f"{{{NAMESPACE}}}header")}
    return Slot(urls["put"], urls["get"], headers)
