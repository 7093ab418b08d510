"""No unit test touches the user's cache or the network beyond the loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import mirrors


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no mirror but those a test names (port 9 refuses connections)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PROSODY_VAULT", raising=False)
    for archive in ("debian", "debian-security"):
        monkeypatch.delenv(mirrors.variable(archive), raising=False)
    monkeypatch.setattr(mirrors, "SNAPSHOT", "http://127.0.0.1:9/archive")
    monkeypatch.setattr(mirrors, "_configured", lambda _apt: iter(()))
    return tmp_path / "cache" / "prosody-images"
