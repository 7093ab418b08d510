"""The web client as somebody at a browser uses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

_PATIENCE = 60.0  # seconds


class WebClient:
    """A page of converse.js in a browser. Only what is on the screen counts, and what the browser itself reports."""

    def __init__(self, driver: WebDriver, address: str) -> None:
        """Open the page at `address`."""
        self._driver = driver
        driver.get(address)

    def log_in(self, name: str, password: str) -> None:
        """Fill the form in, and wait for the list of contacts."""
        self._find("input[name=jid]").send_keys(name)
        self._find("input[name=password]").send_keys(password)
        self._find("converse-login-form button[type=submit]").click()
        self._find("converse-user-profile")

    def open_chat(self, address: str) -> None:
        """Open the conversation with somebody."""
        self._driver.execute_script("location.hash = arguments[0]", f"converse/chat?jid={address}")
        self._find(".chat-textarea")

    def say(self, text: str) -> None:
        """Write a message into the open conversation."""
        self._find(".chat-textarea").send_keys(text, Keys.ENTER)

    def wait_for_message(self, text: str) -> None:
        """Wait until a message is on the screen."""
        self._wait(lambda: any(text in found.text for found in self._all(".chat-msg__text")), f"the message {text!r}")

    def keep_screenshot(self, path: Path) -> None:
        """Write a picture of the page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        assert self._driver.save_screenshot(str(path)), f"{path} was not written"

    def answered_hosts(self) -> set[str]:
        """Host and port of every server that answered a request of the page, or opened a WebSocket (DevTools protocol).

        What the page's policy forbids never gets there.
        """
        found = set()
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.responseReceived":
                found.add(urlsplit(message["params"]["response"]["url"]).netloc)
            elif message["method"] == "Network.webSocketCreated":
                found.add(urlsplit(message["params"]["url"]).netloc)
        return found - {""}

    def faults(self) -> list[str]:
        """Errors in the browser's console, but for pictures of other servers that the policy keeps away."""
        messages = [entry["message"] for entry in self._log("browser") if entry["level"] == "SEVERE"]
        return [message for message in messages if "https://conversejs.org/media/logos/" not in message]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        # The class for browsers elsewhere has no method for this, as only Chromium has such logs.
        entries: list[dict[str, Any]] = self._driver.execute(Command.GET_LOG, {"type": kind})["value"]
        return entries

    def _all(self, selector: str) -> list[WebElement]:
        return self._driver.find_elements(By.CSS_SELECTOR, selector)

    def _find(self, selector: str) -> WebElement:
        self._wait(lambda: any(found.is_displayed() for found in self._all(selector)), selector)
        return next(found for found in self._all(selector) if found.is_displayed())

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        WebDriverWait(self._driver, _PATIENCE).until(lambda _driver: condition(), f"not on the page: {what}")
