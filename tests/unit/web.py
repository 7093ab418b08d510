"""A real HTTP server on the loopback that misbehaves as it is told."""

from __future__ import annotations

import gzip
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Gives each request to the behaviour of its path."""

    protocol_version = "HTTP/1.1"
    server: Web

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range", "")))
        self.server.behaviours.get(self.path, missing)(self)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append(body)
        self.server.behaviours.get(self.path, missing)(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def give(self, status: int, content: bytes, **headers: str) -> None:
        """Answer with content and headers (underscores become hyphens)."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@dataclass
class Web(ThreadingHTTPServer):
    """The server; `behaviours` by path, every GET seen as (path, Range header), and the content of every POST."""

    behaviours: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    posted: list[bytes] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)

    __hash__ = object.__hash__

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no error here."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(**behaviours: Answer) -> Iterator[Web]:
    """A running server; names of behaviours are paths without their slash."""
    web = Web({f"/{name}": behaviour for name, behaviour in behaviours.items()})
    web.daemon_threads = True
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.released.set()
        web.shutdown()
        web.server_close()


def content(data: bytes) -> Answer:
    """The file, or the rest of it that is asked for."""

    def behave(handler: Handler) -> None:
        asked = handler.headers.get("Range", "")
        if asked:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            handler.give(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            handler.give(200, data)

    return behave


def without_ranges(data: bytes) -> Answer:
    return lambda handler: handler.give(200, data)


def missing(handler: Handler) -> None:
    handler.give(404, b"")


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.give(code, b"", **headers)


def in_turn(*answers: Answer) -> Answer:
    """The first behaviour for the first request, and so on; the last one for all others."""
    waiting = list(answers)
    return lambda handler: (waiting.pop(0) if len(waiting) > 1 else waiting[0])(handler)


def ending_early(data: bytes, after: int) -> Answer:
    """Promise everything, give the first bytes, close."""

    def behave(handler: Handler) -> None:
        handler.give(200, data[:after], Content_Length=str(len(data)))
        handler.close_connection = True

    return behave


def hanging(handler: Handler) -> None:
    """Accept the request and never answer."""
    handler.server.released.wait(30)
    handler.close_connection = True


def encoded(data: bytes) -> Answer:
    """A server that compresses if the client lets it."""

    def behave(handler: Handler) -> None:
        if "gzip" in handler.headers.get("Accept-Encoding", ""):
            handler.give(200, gzip.compress(data), Content_Encoding="gzip")
        else:
            handler.give(200, data)

    return behave


def always_encoded(data: bytes) -> Answer:
    """A server that compresses although the client does not want it."""
    return lambda handler: handler.give(200, gzip.compress(data), Content_Encoding="gzip")


def redirecting(target: str) -> Answer:
    return lambda handler: handler.give(302, b"", Location=target)


def from_another_place(data: bytes) -> Answer:
    """Give 206 for the wrong part, whatever is asked."""
    return lambda handler: handler.give(206, data, Content_Range=f"bytes 0-{len(data) - 1}/{len(data)}")


def not_http(handler: Handler) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n")
    handler.close_connection = True
