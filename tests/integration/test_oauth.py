"""OAuth 2: a program gets a token that a user grants, and logs in with it, until it is taken back."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import docker
import httpx
import pytest

from tests.integration import servers, streams, tokens
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server

(ALICE, ALICE_PASSWORD), _ = ACCOUNTS.items()
_REDIRECT = "https://app.example/granted"
_PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5281)}


@pytest.fixture(scope="module")
def server(client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    with servers.serving(client, image, {"ports": _PORTS}, PROSODY_OAUTH2_REGISTRATION_KEY="a key") as started:
        yield started


@dataclass(frozen=True)
class Program:
    """A registered program (RFC 7591), and the browser of the user whom it asks; its redirects are not followed."""

    web: httpx.Client
    identifier: str
    secret: str

    def ask(self, scope: str, **other: str) -> tuple[str, str]:
        """The address that it sends the browser to (RFC 6749, 4.1.1), and what proves that it did so (RFC 7636)."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code", "client_id": self.identifier, "redirect_uri": _REDIRECT, "scope": scope,
            "state": "a state", "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        chosen = {name: value for name, value in (query | other).items() if value}
        return f"/oauth2/authorize?{httpx.QueryParams(chosen)}", verifier

    def log_in(self, address: str, password: str) -> httpx.Response:
        """The page after the user's name and password; it asks for consent if these are right."""
        assert self.web.get(address).is_success
        return self.web.post(address, data={"username": ALICE.partition("@")[0], "password": password})

    def decide(self, address: str, page: httpx.Response, *scopes: str, consent: str = "granted") -> dict[str, str]:
        """What the program is told when the user has decided."""
        (token,) = re.findall(r'name="user_token" value="([^"]+)"', page.text)
        answer = self.web.post(address, data={"user_token": token, "consent": consent, "scope": list(scopes)})
        return redirected(answer)

    def token(self, **parameters: str) -> httpx.Response:
        """What the server gives for a grant (RFC 6749, 4.1.3)."""
        return self.web.post("/oauth2/token", data=parameters, auth=(self.identifier, self.secret))

    def granted(self, *scopes: str) -> dict[str, Any]:
        """The tokens that it has after the user has granted what it asked for."""
        address, verifier = self.ask(" ".join(scopes))
        told = self.decide(address, self.log_in(address, ALICE_PASSWORD), *scopes)
        assert told["state"] == "a state"
        answer = self.redeem(told["code"], verifier)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def redeem(self, code: str, verifier: str) -> httpx.Response:
        """What the server gives for a code."""
        return self.token(grant_type="authorization_code", code=code, redirect_uri=_REDIRECT, code_verifier=verifier)

    def revoke(self, token: str) -> None:
        """Give a token back (RFC 7009)."""
        answer = self.web.post("/oauth2/revoke", data={"token": token}, auth=(self.identifier, self.secret))
        assert answer.is_success, answer.text


def redirected(answer: httpx.Response) -> dict[str, str]:
    """What is in the address that a browser is sent back to, which must be the program's."""
    assert answer.status_code == 303, answer.text
    assert answer.headers["Location"].startswith(_REDIRECT)
    return dict(parse_qsl(urlsplit(answer.headers["Location"]).query))


@pytest.fixture
def program(server: Server, certificate: Path) -> Iterator[Program]:
    def as_domain(request: httpx.Request) -> None:
        request.headers["Host"] = DOMAIN
        request.extensions["sni_hostname"] = DOMAIN

    with httpx.Client(
        base_url=f"https://127.0.0.1:{server.port(5281)}", verify=streams.trusting(certificate),
        event_hooks={"request": [as_domain]},
    ) as web:  # fmt: skip
        metadata: Mapping[str, Any] = {
            "client_name": "An app", "client_uri": "https://app.example/", "redirect_uris": [_REDIRECT],
            "grant_types": ["authorization_code", "refresh_token"], "scope": "xmpp offline_access prosody:admin",
        }  # fmt: skip
        answer = web.post("/oauth2/register", json=metadata)
        assert answer.status_code == 201, answer.text
        yield Program(web, answer.json()["client_id"], answer.json()["client_secret"])


def test_a_granted_token_logs_in_until_it_is_given_back(server: Server, program: Program, certificate: Path) -> None:
    token = program.granted("xmpp")["access_token"]
    bound = tokens.bearer(server, certificate, token)
    assert bound is not None
    assert bound.startswith(f"{ALICE}/")
    middle = len(token) // 2
    other = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    assert tokens.bearer(server, certificate, other) is None
    program.revoke(token)
    assert tokens.bearer(server, certificate, token) is None


def test_a_token_is_renewed_once(server: Server, program: Program, certificate: Path) -> None:
    first = program.granted("xmpp", "offline_access")
    second = program.token(grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert second.is_success, second.text
    assert tokens.bearer(server, certificate, second.json()["access_token"]) is not None
    again = program.token(grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def test_a_user_grants_no_role_that_is_not_his_own(program: Program) -> None:
    address, verifier = program.ask("xmpp prosody:admin")
    page = program.log_in(address, ALICE_PASSWORD)
    assert re.findall(r'name="scope" value="([^"]+)"', page.text) == ["xmpp"]
    told = program.decide(address, page, "prosody:admin", "xmpp")  # as a forged page would
    assert program.redeem(told["code"], verifier).json()["scope"] == "xmpp"


def test_nothing_is_granted_without_the_user(program: Program) -> None:
    address, _ = program.ask("xmpp")
    page = program.log_in(address, "not the password")
    assert "Invalid username/password" in page.text
    assert "user_token" not in page.text
    denied = program.decide(address, program.log_in(address, ALICE_PASSWORD), consent="denied")
    assert denied["error"] == "access_denied"


def test_a_code_is_good_for_who_asked_and_once(program: Program) -> None:
    address, verifier = program.ask("xmpp")
    code = program.decide(address, program.log_in(address, ALICE_PASSWORD), "xmpp")["code"]
    assert program.redeem(code, verifier).is_success
    assert program.redeem(code, verifier).json()["error"] == "invalid_client"
    code = program.decide(address, program.log_in(address, ALICE_PASSWORD), "xmpp")["code"]
    assert program.redeem(code, f"{verifier}x").json()["error"] == "invalid_grant"


def test_who_asks_must_be_registered_and_use_a_challenge(program: Program) -> None:
    elsewhere, _ = program.ask("xmpp", redirect_uri="https://elsewhere.example/")
    assert program.web.get(elsewhere).status_code == 400
    unknown, _ = program.ask("xmpp", client_id="somebody")
    assert program.web.get(unknown).status_code == 400
    bare, _ = program.ask("xmpp", code_challenge="", code_challenge_method="")
    told = program.decide(bare, program.log_in(bare, ALICE_PASSWORD), "xmpp")
    assert (told["error"], told["error_description"]) == ("invalid_request", "PKCE required")
