"""The record of a run of all tests: which images they have run (see scripts/records.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts import lock, records, variants
from scripts.errors import SigningError
from scripts.oci import Image
from scripts.platforms import PLATFORMS
from scripts.records import Run

FOLDER = Path(__file__).parent
# Options of pytest that leave tests out. `--variant` may: a record is about one variant.
_SELECTING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise", "setuponly")
_TOLD = "images"  # among what a process tells in the end (pytest-xdist)

_noted: dict[str, dict[str, str]] = {}  # variant → platform → digest of the manifest


def note(variant: str, image: Image) -> None:
    """Tests of this process run the image of a variant: natively all of them, under emulation the core."""
    _noted.setdefault(variant, {})[image.platform.name] = image.manifest


class Recorder:
    """Plugin of pytest; the process that started the others (pytest-xdist) writes the records."""

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """What was recorded of the variants before is void."""
        config = session.config
        if hasattr(config, "workerinput") or config.option.collectonly or config.getoption("layouts"):
            return  # images that are given are tried out, by a release among others, which needs the records
        chosen = config.getoption("variant") or lock.locked_names()
        with _told():
            self._runs = [records.begin("integration", name, variants.load(name).platforms) for name in chosen]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Another process has ended."""
        for variant, images in getattr(node, "workeroutput", {}).get(_TOLD, {}).items():
            _noted.setdefault(variant, {}).update(images)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Record what has passed, if it was everything."""
        config = session.config
        if hasattr(config, "workeroutput"):
            config.workeroutput[_TOLD] = _noted
        elif exitstatus == pytest.ExitCode.OK and _is_whole(config):
            reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
            counts = {result: len(reporter.stats.get(result, ())) for result in ("passed", "skipped")}
            for run in self._runs:
                if run.variant in _noted:
                    with _told():
                        manifests = {PLATFORMS[name]: digest for name, digest in _noted[run.variant].items()}
                        run.passed(manifests, **counts)


@contextmanager
def _told() -> Iterator[None]:
    """End the run if something cannot be signed, without a traceback."""
    try:
        yield
    except SigningError as error:
        pytest.exit(str(error), returncode=error.exit_status)


def _is_whole(config: pytest.Config) -> bool:
    """Whether no test was left out but those of other variants."""
    named = [Path(str(config.invocation_params.dir), argument).resolve() for argument in config.args]
    return any(FOLDER.is_relative_to(path) for path in named) and not any(
        getattr(config.option, option, None) for option in _SELECTING
    )
