"""A Prometheus server that reads the metrics of the image's servers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import docker
import httpx

from tests import peers
from tests.integration.containers import LoadedImage, Outcome
from tests.integration.networks import Network
from tests.peers import Peer

_PORT = 9090


@dataclass(frozen=True)
class Target:
    """What is read: over HTTPS if there is a certificate (PEM), which must then be the one for `name`."""

    address: str
    name: str = ""
    certificate: bytes = b""


@dataclass
class Prometheus:
    """The server; it reads every target each second."""

    peer: Peer

    def is_ready(self) -> bool:
        """Whether it answers questions."""
        try:
            return httpx.get(f"{self._url}/-/ready").is_success
        except (httpx.HTTPError, KeyError, IndexError, TypeError):  # not published yet
            return False

    def ask(self, expression: str) -> list[float]:
        """The values that an expression of PromQL has now."""
        answer = httpx.get(f"{self._url}/api/v1/query", params={"query": expression}).raise_for_status()
        return [float(found["value"][1]) for found in answer.json()["data"]["result"]]

    def target(self, job: str) -> dict[str, Any]:
        """How the last reading of a target went; waits for the first, five seconds after the start."""

        def found() -> dict[str, Any]:
            answer = httpx.get(f"{self._url}/api/v1/targets").raise_for_status()
            targets = answer.json()["data"]["activeTargets"]
            return next((dict(target) for target in targets if target["scrapePool"] == job), {"health": "unknown"})

        self.peer.wait_for(lambda: found()["health"] != "unknown", f"{job} was read")
        return found()

    def check(self, metrics: str) -> Outcome:
        """What promtool finds wrong with metrics."""
        return self.peer.execute("sh", "-c", 'printf %s "$1" | promtool check metrics', "-", metrics)

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.peer.port(_PORT)}"


def _job(name: str, target: Target) -> dict[str, Any]:
    if not target.certificate:
        return {"job_name": name, "static_configs": [{"targets": [f"{target.address}:5280"]}]}
    return {
        "job_name": name,
        "scheme": "https",
        "tls_config": {"ca_file": f"/{name}.crt", "server_name": target.name},
        "static_configs": [{"targets": [f"{target.address}:5281"]}],
    }


@contextmanager
def serving(
    client: docker.DockerClient, image: LoadedImage, network: Network, number: int, targets: Mapping[str, Target]
) -> Iterator[Prometheus]:
    """The server as member `number` of `network`, with a job for each target."""
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [_job(name, target) for name, target in targets.items()],
    }
    found = Prometheus(
        Peer(
            client, image, network, number,
            command=["prometheus", "--config.file=/prometheus.yml", "--storage.tsdb.path=/data"],
            # JSON is YAML.
            files={"/prometheus.yml": json.dumps(configuration)}
            | {f"/{name}.crt": target.certificate for name, target in targets.items() if target.certificate},
            ports=[_PORT],
        )
    )  # fmt: skip
    with peers.running(found.peer, found.is_ready):
        yield found
