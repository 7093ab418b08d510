"""What the command refuses before it builds anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import verify
from scripts.errors import BuildError, UsageError, UserError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["debian", "hardened", "--against", "registry.example/prosody:debian"], "name the variant"),
        (["--against", "registry.example/prosody:debian"], "name the variant"),
        (["debian", "--locked-tools"], "goes with --image-only"),
        (["debian", "--image-only", "--builder", "farm"], "--builder is for rebuilds by this build system"),
        (["debian", "--platform", "linux/amd46"], "There is no platform 'linux/amd46'.*linux/amd64"),
        (["debiam"], "debian"),
        (["debian", "--against", "registry.example"], "neither a folder nor a reference"),
        (["debian", "--against", "dist/nothing"], "neither a folder nor a reference"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        verify.main(arguments)
    assert raised.value.exit_status in (UsageError.exit_status, 10)


@pytest.mark.parametrize("content", [None, "", "{}", '{"manifests": []}', '{"manifests": [{"digest": "sha256:0"}]}'])
def test_a_folder_that_holds_no_image_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "index.json").write_text(content)
    with pytest.raises(BuildError):
        verify.main(["debian", "--platform", "linux/amd64", "--against", str(tmp_path)])
