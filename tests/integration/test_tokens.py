"""Login with JSON Web Tokens: which are accepted, which are not, and where keys come from."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration import servers, tokens
from tests.integration.authority import Authority
from tests.integration.containers import LoadedImage
from tests.integration.servers import DOMAIN, Server
from tests.integration.tokens import LOGINS, FromNow, Issuer, KeyServer

pytestmark = pytest.mark.variant("debian", "jitsi")

SECRET = "a secret that is long enough for every algorithm, HS512 as well"
PUBLIC_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
# The image asks for keys at most once in this time, in seconds.
INTERVAL = 10
PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5223, 5281)}


@dataclass(frozen=True)
class Gate:
    """A server that lets people in with tokens, and what clients verify it with."""

    server: Server
    certificate: Path

    def log_in(self, token: str, way: str = "plain") -> str | None:
        """The address that was bound, or None if the token is refused."""
        return LOGINS[way](self.server, self.certificate, token)

    def refuses(self, token: str, reason: str, way: str = "plain") -> bool:
        """Whether a token is refused, and for this reason."""
        line = f"Token refused: {reason}"
        before = self.server.log().count(line)
        if self.log_in(token, way) is not None:
            return False
        self.server.wait_for(lambda: self.server.log().count(line) > before, f"the log has once more: {line}")
        return True


@contextmanager
def gate(
    client: docker.DockerClient,
    image: LoadedImage,
    folder: Path,
    environment: Mapping[str, str],
    mounts: Mapping[str, dict[str, str]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Gate]:
    """A started server with tokens of the issuer "meet"."""
    variables = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_AUTHENTICATION": "json_web_token", "PROSODY_JWT_APP_ID": "meet"}
    server = Server(
        client, image, variables | dict(environment), {"ports": PORTS, **(options or {})}, dict(mounts or {})
    )
    try:
        server.start()
        yield Gate(server, server.certificate(folder))
    finally:
        server.remove()


def mounted(folder: Path, name: str, content: bytes, target: str) -> dict[str, dict[str, str]]:
    """A file of the container."""
    path = folder / name
    path.write_bytes(content)
    path.chmod(0o644)
    return {str(path): {"bind": target, "mode": "ro"}}


@pytest.fixture(scope="module")
def issuers() -> Mapping[str, Issuer]:
    """One issuer for each algorithm with public keys."""
    return {algorithm: Issuer.make(algorithm, f"key of {algorithm}") for algorithm in PUBLIC_ALGORITHMS}


@pytest.fixture(scope="module")
def shared_gate(
    client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    """A server with a shared secret, with everything in its log."""
    environment = {
        "PROSODY_JWT_SECRET": SECRET,
        "PROSODY_JWT_ALGORITHMS": "HS256, HS512",
        "PROSODY_JWT_ISSUERS": "meet, *.login.example",
        "PROSODY_JWT_AUDIENCES": "meet, conference-*-eu",
        "PROSODY_LOGLEVEL": "debug",
    }
    with gate(client, image, tmp_path_factory.mktemp("shared"), environment) as made:
        yield made


@pytest.mark.parametrize("way", LOGINS)
def test_a_token_lets_in(shared_gate: Gate, way: str) -> None:
    address = shared_gate.log_in(tokens.shared(SECRET), way)
    assert address
    name = address.split("@")[0]
    # Where the token is in place of a password it says who somebody is; otherwise nobody in particular.
    assert (name == "juliet") == (way in ("plain", "bearer"))


@pytest.mark.parametrize("way", LOGINS)
def test_a_long_token_lets_in(shared_gate: Gate, way: str) -> None:
    """Passwords are shorter; a stream takes 10 kB from somebody who has not logged in."""
    token = tokens.shared(SECRET, context={"user": {"id": "juliet", "avatar": "x" * 4000}})
    assert shared_gate.log_in(token, way)


@pytest.mark.parametrize("way", LOGINS)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": 1}, "it has expired (exp)"),
        ({"exp": None}, "it never expires (exp is missing)"),
        ({"nbf": FromNow(3600)}, "it is not valid yet (nbf)"),
        ({"aud": "somebody else"}, "it is meant for somebody else (aud)"),
        ({"aud": ["a", "b"]}, "it is meant for somebody else (aud)"),
        ({"aud": None}, "it is meant for somebody else (aud)"),
        ({"iss": "login.example"}, "its issuer is not accepted (iss)"),
        ({"iss": None}, "its issuer is not accepted (iss)"),
        ({"room": ["tea"]}, "room is not a text"),
        ({"context": "juliet"}, "context is not an object"),
    ],
    ids=str,
)
def test_claims_that_are_wrong(shared_gate: Gate, way: str, changes: Mapping[str, Any], reason: str) -> None:
    assert shared_gate.refuses(tokens.shared(SECRET, **changes), reason, way)


@pytest.mark.parametrize(
    "changes",
    [
        {"nbf": FromNow(-5)},
        {"nbf": FromNow(20)},  # within the leeway
        {"exp": FromNow(60)},
        {"aud": ["other", "meet"]},
        {"aud": "conference-7-eu"},
        {"iss": "a.login.example"},
        {"sub": None, "room": None},
    ],
    ids=str,
)
def test_claims_that_are_right(shared_gate: Gate, changes: Mapping[str, Any]) -> None:
    assert shared_gate.log_in(tokens.shared(SECRET, **changes))


@pytest.mark.parametrize("way", LOGINS)
@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (tokens.unsigned(), "it is not a signed token"),
        (tokens.unsigned(b"AAAA"), "its algorithm is not accepted (alg)"),
        (tokens.shared(SECRET, "HS384"), "its algorithm is not accepted (alg)"),
        (
            tokens.shared("another secret that is long enough for every algorithm, as the other"),
            "its signature is wrong",
        ),
        (tokens.shared(SECRET)[:-4] + "AAAA", "its signature is wrong"),
        ("nonsense", "it is not a signed token"),
        (tokens.malformed("[" * 5000), "it is not a signed token"),
        (tokens.malformed("null"), "its algorithm is not accepted (alg)"),
        (tokens.malformed('"HS256"'), "it is not a signed token"),
        (tokens.malformed("{}"), "its algorithm is not accepted (alg)"),
        (tokens.malformed('{"alg": ["HS256"]}'), "its algorithm is not accepted (alg)"),
        (tokens.malformed('{"alg": "HS256", "kid": 5}'), "the name of its key is not a text (kid)"),
    ],
    ids=[
        "none",
        "none with a signature",
        "another algorithm",
        "another secret",
        "altered",
        "nonsense",
        "nested",
        "null",
        "text",
        "no algorithm",
        "several algorithms",
        "number of a key",
    ],
)
def test_signatures_that_are_wrong(shared_gate: Gate, way: str, token: str, reason: str) -> None:
    assert shared_gate.refuses(token, reason, way)


def test_the_token_of_another_user_is_no_password(shared_gate: Gate) -> None:
    token = tokens.shared(SECRET)
    assert tokens.plain(shared_gate.server, shared_gate.certificate, token, "romeo") is None
    nobody = tokens.shared(SECRET, context=None)
    assert shared_gate.refuses(nobody, "it names no user (context.user.id)")
    # In the address it is good: nobody has to be somebody there.
    assert shared_gate.log_in(nobody, "websocket")


def test_without_a_token_nobody_gets_in(shared_gate: Gate) -> None:
    for login in (tokens.websocket, tokens.bosh):
        assert login(shared_gate.server, shared_gate.certificate, None) is None


def test_tokens_in_addresses_are_not_logged(shared_gate: Gate) -> None:
    """Not even where everything is; what a client sends in the body of BOSH is, as the documentation says."""
    token = tokens.shared(SECRET, jti="a token to look for")
    for way in LOGINS:
        assert shared_gate.log_in(token, way)
        assert shared_gate.log_in(token + "A", way) is None
    log = shared_gate.server.log()
    for part in token.split(".")[1:]:
        assert part not in log
    assert SECRET not in log


@pytest.fixture(scope="module")
def keys(client: docker.DockerClient, issuers: Mapping[str, Issuer]) -> Iterator[KeyServer]:
    """A key server with the keys of all issuers."""
    with tokens.key_server(client) as served:
        served.issuers = list(issuers.values())
        yield served


@pytest.fixture(scope="module")
def set_gate(
    client: docker.DockerClient, image: LoadedImage, keys: KeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    """A server that asks the key server for the set."""
    environment = {
        "PROSODY_JWT_JWKS_URL": f"http://{keys.address}/keys.json",
        "PROSODY_JWT_ALGORITHMS": ", ".join(PUBLIC_ALGORITHMS),
    }
    with gate(client, image, tmp_path_factory.mktemp("set"), environment) as made:
        yield made


@pytest.mark.parametrize("algorithm", PUBLIC_ALGORITHMS)
def test_every_algorithm_with_public_keys(set_gate: Gate, issuers: Mapping[str, Issuer], algorithm: str) -> None:
    issuer = issuers[algorithm]
    assert set_gate.log_in(issuer.token())
    # A key that is called so, but is another
    assert set_gate.log_in(Issuer.make(algorithm, issuer.name).token()) is None
    # A good signature over other claims
    header, _, signature = issuer.token().split(".")
    assert set_gate.log_in(".".join([header, issuer.token(room="other").split(".")[1], signature])) is None


def test_a_key_is_for_its_own_algorithm_only(set_gate: Gate, issuers: Mapping[str, Issuer]) -> None:
    """RS256 and PS256 can use the same keys, but a key that names its algorithm is for no other (RFC 7517, 4.4)."""
    issuer = issuers["RS256"]
    assert set_gate.log_in(Issuer("PS256", issuer.key, issuer.name).token()) is None
    assert set_gate.log_in(issuers["ES256"].token({"kid": issuer.name})) is None


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_public_key_is_no_secret(set_gate: Gate, issuers: Mapping[str, Issuer], algorithm: str) -> None:
    issuer = issuers[algorithm]
    for secret in (issuer.public, issuer.public.strip()):
        assert set_gate.refuses(tokens.confused(secret, issuer.name), "its algorithm is not accepted (alg)")


def test_a_token_without_the_name_of_its_key(set_gate: Gate, issuers: Mapping[str, Issuer]) -> None:
    """All keys that fit are tried."""
    issuer = issuers["ES384"]
    assert set_gate.log_in(issuer.token(header={"kid": None}))
    assert set_gate.log_in(issuer.token({"crit": ["b64"], "b64": True})) is None


def test_unknown_keys_cause_few_requests(set_gate: Gate, keys: KeyServer, issuers: Mapping[str, Issuer]) -> None:
    before, started = len(keys.requests), time.monotonic()
    for number in range(20):
        assert set_gate.log_in(issuers["ES256"].token({"kid": f"unknown {number}"})) is None
    assert len(keys.requests) - before <= 1 + (time.monotonic() - started) / INTERVAL


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_every_algorithm_with_secrets(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, algorithm: str
) -> None:
    environment = {"PROSODY_JWT_SECRET": SECRET, "PROSODY_JWT_ALGORITHMS": algorithm}
    with gate(client, image, tmp_path, environment) as made:
        for other in ("HS256", "HS384", "HS512"):
            accepted = made.log_in(tokens.shared(SECRET, other)) is not None
            assert accepted == (other == algorithm)


def test_a_key_in_a_file(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, issuers: Mapping[str, Issuer]
) -> None:
    check_key_file(client, image, tmp_path, issuers["RS256"], issuers["RS256"].public)


def test_a_certificate_in_a_file(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    pair = Authority().issue(["login.example"])
    check_key_file(client, image, tmp_path, Issuer.load("ES256", pair.key, "any name"), pair.certificate)


def check_key_file(
    client: docker.DockerClient, image: LoadedImage, folder: Path, issuer: Issuer, content: bytes
) -> None:
    """Only what the issuer signs is accepted, and nothing that is signed with what everybody may know."""
    mounts = mounted(folder, "issuer.pem", content, "/run/issuer.pem")
    environment = {"PROSODY_JWT_PUBLIC_KEY_FILE": "/run/issuer.pem", "PROSODY_JWT_ALGORITHMS": issuer.algorithm}
    with gate(client, image, folder, environment, mounts) as made:
        assert made.log_in(issuer.token())
        assert made.log_in(tokens.confused(content, issuer.name)) is None
        assert made.log_in(tokens.confused(issuer.public, issuer.name)) is None
        assert made.log_in(Issuer.make(issuer.algorithm, issuer.name).token()) is None


def test_keys_are_rotated(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    """A new key is found when a token names it, an old one is kept through an outage and dropped when it is gone."""
    old, new = Issuer.make("ES256", "old"), Issuer.make("ES256", "new")
    with tokens.key_server(client) as keys:
        keys.issuers, keys.lifetime = [old], "max-age=3600"
        environment = {"PROSODY_JWT_JWKS_URL": f"http://{keys.address}/keys.json", "PROSODY_JWT_ALGORITHMS": "ES256"}
        with gate(client, image, tmp_path, environment) as made:
            assert made.log_in(old.token())
            assert made.log_in(old.token())
            assert [status for _, status in keys.requests] == [200]

            # The server is down while the keys change: nobody with the old key notices.
            keys.is_broken = True
            made.server.wait_for(
                lambda: made.log_in(new.token()) is not None or len(keys.requests) > 1, "a new request"
            )
            assert keys.requests[-1][1] == 503
            line = f"No keys from http://{keys.address}/keys.json: the server answered with status 503"
            made.server.wait_for(lambda: line in made.server.log(), "the log says so")
            assert made.log_in(old.token())
            assert made.log_in(new.token()) is None

            keys.is_broken, keys.issuers, keys.lifetime = False, [new], "no-cache"
            made.server.wait_for(lambda: made.log_in(new.token()) is not None, "the new key is known")
            assert keys.requests[-1][1] == 200
            assert made.log_in(old.token()) is None

            # Stale at once: the server is asked again, and says that nothing has changed.
            made.server.wait_for(
                lambda: made.log_in(new.token()) is not None and keys.requests[-1][1] == 304, "the keys are asked for"
            )
            assert len(keys.requests) == 4


def test_keys_one_by_one(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, issuers: Mapping[str, Issuer]
) -> None:
    """As Jitsi's key servers have them: a file for each key, called by the hash of its name."""
    known = issuers["RS256"]
    with tokens.key_server(client) as keys:
        keys.issuers = [known]
        environment = {"PROSODY_JWT_KEY_SERVER": f"http://{keys.address}/"}
        with gate(client, image, tmp_path, environment) as made:
            for _ in range(3):
                assert made.log_in(known.token())
            assert made.log_in(Issuer.make("RS256", "another").token()) is None
            assert made.log_in(known.token(header={"kid": None})) is None
            assert [status for _, status in keys.requests] == [200, 404]


def test_keys_over_tls(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, issuers: Mapping[str, Issuer]
) -> None:
    """The certificate of the key server is verified: otherwise anybody on the way could put own keys there."""
    authority = Authority()
    pair = authority.issue(["keys.example"])
    files = tmp_path / "tls.crt", tmp_path / "tls.key"
    for path, content in zip(files, (pair.full, pair.key), strict=True):
        path.write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    issuer = issuers["ES256"]
    with tokens.key_server(client, context) as keys:
        keys.issuers = [issuer]
        address, port = keys.address.split(":")
        hosts = {"extra_hosts": {"keys.example": address, "other.example": address}}
        trusted = mounted(tmp_path, "root.pem", authority.root, "/etc/ssl/certs/ca-certificates.crt")
        for name, mounts, accepted in (
            ("keys.example", trusted, True), ("other.example", trusted, False), ("keys.example", {}, False),
        ):  # fmt: skip
            environment = {
                "PROSODY_JWT_JWKS_URL": f"https://{name}:{port}/keys.json", "PROSODY_JWT_ALGORITHMS": "ES256",
            }  # fmt: skip
            with gate(client, image, tmp_path, environment, mounts, hosts) as made:
                assert (made.log_in(issuer.token()) is not None) == accepted
                if not accepted:
                    made.server.wait_for(lambda: "certificate" in made.server.log(), "the log says why")


def test_a_key_server_that_does_not_answer_blocks_nobody(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, issuers: Mapping[str, Issuer]
) -> None:
    """Who has to wait for keys waits alone, and not for ever."""
    with socket.create_server((tokens.gateway(client), 0)) as silent:
        port = silent.getsockname()[1]
        environment = {"PROSODY_JWT_JWKS_URL": f"http://{tokens.gateway(client)}:{port}/keys.json"}
        with gate(client, image, tmp_path, environment) as made, ThreadPoolExecutor() as pool:
            waiting = pool.submit(made.log_in, issuers["RS256"].token())
            silent.settimeout(30)
            connection, _ = silent.accept()
            with connection:
                assert made.server.accepts_clients()
                assert not waiting.done()
                assert waiting.result(30) is None
            made.server.wait_for(lambda: "no answer within 8 seconds" in made.server.log(), "the log says why")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "tokens need a key: set PROSODY_JWT_SECRET"),
        (
            {"PROSODY_JWT_SECRET": SECRET, "PROSODY_JWT_JWKS_URL": "https://login.example/"},
            "PROSODY_JWT_SECRET and PROSODY_JWT_JWKS_URL are both set",
        ),
        (
            {"PROSODY_JWT_JWKS_URL": "https://login.example/", "PROSODY_JWT_ALGORITHMS": "RS256, HS256"},
            "PROSODY_JWT_ALGORITHMS: HS256 is for a shared secret",
        ),
        (
            {"PROSODY_JWT_SECRET": SECRET, "PROSODY_JWT_ALGORITHMS": "RS256"},
            "PROSODY_JWT_ALGORITHMS: RS256 is for public keys",
        ),
        (
            {"PROSODY_JWT_SECRET": SECRET, "PROSODY_JWT_ALGORITHMS": "none"},
            'PROSODY_JWT_ALGORITHMS: "none" is not valid',
        ),
        ({"PROSODY_JWT_PUBLIC_KEY": "nonsense"}, "PROSODY_JWT_PUBLIC_KEY is neither a public key nor a certificate"),
        ({"PROSODY_JWT_PUBLIC_KEY": "-----BEGIN PRIVATE KEY-----"}, "PROSODY_JWT_PUBLIC_KEY holds a private key"),
    ],
    ids=["no key", "two keys", "secret with public", "public with secret", "none", "not a key", "private key"],
)
def test_settings_that_are_refused(
    client: docker.DockerClient, image: LoadedImage, environment: Mapping[str, str], message: str
) -> None:
    usual = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_AUTHENTICATION": "json_web_token"}
    outcome = servers.run(client, image, "check", environment=usual | dict(environment))
    assert outcome.status == 78
    assert message in outcome.text
    assert SECRET not in outcome.text
