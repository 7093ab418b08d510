"""The library's clients over WebSocket (RFC 7395) and BOSH (XEP-0206): its stream is translated on the way.

It writes a stanza at a time, and the header whenever the stream begins anew.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any
from xml.etree import ElementTree as ET

import httpx
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

from tests.integration import streams
from tests.integration.clients import Client
from tests.integration.containers import PATIENCE
from tests.integration.web import BINDING

_BEGIN = f"<stream:stream xmlns='{streams.CLIENT}' xmlns:stream='{streams.STREAMS}' version='1.0' id='1'>"
_END = "</stream:stream>"


class Translation(asyncio.Transport, ABC):
    """What a client takes for its connection."""

    def __init__(self, client: Client, domain: str) -> None:
        super().__init__()
        self._client, self._domain = client, domain
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    def begin(self) -> None:
        """Begin the stream, or begin it anew."""

    @abstractmethod
    def send(self, element: ET.Element) -> None:
        """Send a child of the stream."""

    @abstractmethod
    def end(self) -> None:
        """End the stream."""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send what the library has written."""
        text = bytes(data).decode()
        if "<stream:stream" in text:
            self.begin()
        elif text.startswith(_END):
            self.end()
        else:
            for element in streams.parse(f"{_BEGIN}{text}{_END}".encode()):
                self.send(element)

    def opened(self) -> None:
        """Let the library read that the stream has begun."""
        self._client.data_received(_BEGIN)

    def arrived(self, element: ET.Element) -> None:
        """Let the library read a child of the stream."""
        self._client.data_received(ET.tostring(element))

    def run(self, work: Any) -> None:
        """Do something meanwhile; the connection is lost if it fails."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.lost(task.exception())

    def lost(self, error: BaseException | None = None) -> None:
        """Tell the library, once."""
        if not self._closed:
            self._closed = True
            for task in self._tasks:
                task.cancel()
            self._client.connection_lost(error)

    def close(self) -> None:
        """Give the connection up."""
        self.lost()

    def abort(self) -> None:
        """Give the connection up."""
        self.lost()


class WebSocketTranslation(Translation):
    """Each element is a message of its own."""

    def __init__(self, client: Client, domain: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(client, domain)
        self._reader, self._writer = reader, writer
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self.agreed: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._write(Request(host=domain, target="/xmpp-websocket", subprotocols=["xmpp"]))
        self.run(self._read())

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What there is below."""
        return self._writer.get_extra_info(name, default)

    def begin(self) -> None:
        self._write(TextMessage(f"<open xmlns='{streams.FRAMING}' to='{self._domain}' version='1.0'/>"))

    def send(self, element: ET.Element) -> None:
        self._write(TextMessage(ET.tostring(element, encoding="unicode")))

    def end(self) -> None:
        self._write(TextMessage(f"<close xmlns='{streams.FRAMING}'/>"))

    def close(self) -> None:
        self._writer.close()
        super().close()

    def _write(self, event: Any) -> None:
        self._writer.write(self._protocol.send(event))

    async def _read(self) -> None:
        text = ""
        while chunk := await self._reader.read(65536):
            self._protocol.receive_data(chunk)
            for event in self._protocol.events():
                if isinstance(event, AcceptConnection):
                    self.agreed.set_result(event.subprotocol)
                elif isinstance(event, Ping):
                    self._write(event.response())
                elif isinstance(event, CloseConnection):
                    return self.lost()
                elif isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        self._take(streams.parse(text.encode()))
                        text = ""
        return self.lost()

    def _take(self, element: ET.Element) -> None:
        if element.tag == f"{{{streams.FRAMING}}}open":
            self.opened()
        elif element.tag == f"{{{streams.FRAMING}}}close":
            self.lost()
        else:
            self.arrived(element)


class BoshTranslation(Translation):
    """Elements are in the bodies of requests, of which the server holds one until it has something to say."""

    def __init__(self, client: Client, domain: str, web: httpx.AsyncClient, address: httpx.URL) -> None:
        super().__init__(client, domain)
        self._web, self._address = web, address
        self._number, self._session, self._waiting = 1573741820, "", 0
        self._below: Any = None

    @classmethod
    async def over(cls, client: Client, domain: str, web: httpx.AsyncClient, address: httpx.URL) -> BoshTranslation:
        """With a first request, for the page that is at the address, so that there is TLS."""
        found = cls(client, domain, web, address)
        page = await web.get(address, headers={"Host": domain}, extensions={"sni_hostname": domain})
        page.raise_for_status()
        found._below = page.extensions["network_stream"]
        return found

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What there is below."""
        below = self._below.get_extra_info(name)
        return default if below is None else below

    def begin(self) -> None:
        if self._session:
            self._post(f"to='{self._domain}' xmpp:restart='true'")
        else:
            self._post(f"to='{self._domain}' wait='10' hold='1' ver='1.11' xmpp:version='1.0'")
        # There is no header in the answer, which may come with any request.
        asyncio.get_running_loop().call_soon(self.opened)

    def send(self, element: ET.Element) -> None:
        self._post("", ET.tostring(element, encoding="unicode"))

    def end(self) -> None:
        self._post("type='terminate'")

    def _post(self, attributes: str, content: str = "") -> None:
        self._number += 1
        self._waiting += 1
        attributes = f"rid='{self._number}' {self._session} xmlns:xmpp='urn:xmpp:xbosh' {attributes}"
        body = f"<body xmlns='{BINDING}' {attributes}>{content}</body>"
        self.run(self._exchange(body))

    async def _exchange(self, body: str) -> None:
        answer = await self._web.post(
            self._address,
            content=body.encode(),
            headers={"Host": self._domain, "Content-Type": "text/xml; charset=utf-8"},
            extensions={"sni_hostname": self._domain},
        )
        answer.raise_for_status()
        self._waiting -= 1
        found = streams.parse(answer.content)
        self._session = f"sid='{found.get('sid')}'" if found.get("sid") else self._session
        for element in found:
            self.arrived(element)
        if found.get("type") == "terminate":
            self.lost()
        elif not self._waiting:
            self._post("")


class WebSocketClient(Client):
    """A client over WebSocket."""

    async def _attempt_connection(self, host: str, port: int, tls: bool, server_hostname: str | None) -> bool:
        domain = str(self.boundjid.domain)
        reader, writer = await asyncio.open_connection(host, port, ssl=self.get_ssl_context(), server_hostname=domain)
        translation = WebSocketTranslation(self, domain, reader, writer)
        assert await asyncio.wait_for(translation.agreed, PATIENCE) == "xmpp", "the server did not agree to xmpp"
        self.connection_made(translation)
        return True


class BoshClient(Client):
    """A client over BOSH."""

    async def _attempt_connection(self, host: str, port: int, tls: bool, server_hostname: str | None) -> bool:
        domain, address = str(self.boundjid.domain), httpx.URL(f"https://{host}:{port}/http-bind")
        web = httpx.AsyncClient(verify=self.get_ssl_context(), timeout=PATIENCE, trust_env=False)
        self.add_event_handler("disconnected", lambda _reason: asyncio.ensure_future(web.aclose()), disposable=True)
        self.connection_made(await BoshTranslation.over(self, domain, web, address))
        return True
