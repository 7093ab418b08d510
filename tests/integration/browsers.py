"""Chromium without a screen, in a container of its own, driven over its WebDriver port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver

from scripts import toolset
from tests.integration.containers import CONFINED, execute
from tests.integration.servers import Server

# chromedriver's port; the container of the server has to publish it.
PORT = 9515
_PROGRAMS = "/usr/lib/chromium/chromium", "/usr/bin/chromedriver"
_AUTHORITY = "/authority.pem"
# Where Chromium looks for certificates on Linux, and what makes one an authority for web sites (certutil(1)).
_DATABASE = "/tmp/.local/share/pki/nssdb"  # noqa: S108  (a place in the container)
_IMPORT = (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "prosody-dev", "-i", _AUTHORITY])
_OPTIONS = (
    "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900", "--lang=en",
    "--no-sandbox",  # the container is the sandbox, and has no rights to make another one
)  # fmt: skip


@contextmanager
def browsing(client: docker.DockerClient, server: Server, authority: Path) -> Iterator[WebDriver]:
    """A browser that shares the network of `server`, so that localhost is what it is for somebody at that machine.

    It has imported the certificate `authority`, and trusts no other but those that it comes with.
    Its programs are a locked set of Debian packages (scripts/tools/chromium.yaml), mounted over those of the image.
    """
    root = toolset.unpack("chromium", server.image.platform).root
    mounts = {str(root / name): {"bind": f"/{name}", "mode": "ro"} for name in ("usr", "etc/fonts")}
    mounts[str(authority)] = {"bind": _AUTHORITY, "mode": "ro"}
    browser = client.containers.run(
        server.image.name,
        [f"--port={PORT}", "--allowed-ips=", "--log-level=WARNING"],
        entrypoint=[_PROGRAMS[1]],
        detach=True,
        platform=server.image.platform.name,
        network_mode=f"container:{server.running.id}",
        volumes=mounts,
        tmpfs={"/tmp": "mode=1777", _DATABASE: "mode=1777"},  # noqa: S108  (a place in the container)
        environment={"HOME": "/tmp"},  # noqa: S108
        **CONFINED,
    )
    try:
        printed: Any = browser.logs(stream=True, follow=True)
        assert any(b"started successfully" in line for line in printed), browser.logs().decode(errors="replace")
        for step in _IMPORT:
            imported = execute(browser, ["/usr/bin/certutil", "-d", f"sql:{_DATABASE}", *step])
            assert imported.status == 0, imported.text
        driver = _connect(server.port(PORT))
        try:
            yield driver
        finally:
            driver.quit()
    finally:
        browser.remove(force=True, v=True)


def _connect(port: int) -> WebDriver:
    options: Any = webdriver.ChromeOptions()
    options.binary_location = _PROGRAMS[0]
    for option in _OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Remote(f"http://127.0.0.1:{port}", options=options)
