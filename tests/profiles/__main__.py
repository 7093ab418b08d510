"""python -m tests.profiles [--check|--again]: run tests of the image under strace, and write the profiles in deploy/.

What is seen is added to what was seen before (observed.json), so that a run that happens to do less takes nothing away;
delete that file to begin anew. With --check nothing is run or written: profiles that the file does not give are an
error. With --again they are written without running anything.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts import errors, paths
from scripts.console import console
from scripts.errors import BuildError, StaleError
from tests.profiles import apparmor, observation, seccomp, tracing
from tests.profiles.observation import Observation

OBSERVED = Path(__file__).with_name("observed.json")
SECCOMP = paths.ROOT / "deploy" / "seccomp.json"
APPARMOR = paths.ROOT / "deploy" / "apparmor" / "prosody"

# Tests that together use what the server can do. Emulated platforms are left out: there QEMU makes the calls.
_TESTS = (
    "accounts", "certificates", "commands", "container", "development", "e2e_policy", "health", "jitsi", "logging",
    "messages", "modules", "permissions",
)  # fmt: skip
# Tests that a tracer spoils: it is seen among the processes, makes them slow, and is not in a browser's way.
_NOT = "not arm64 and not median and not browser"


def observe() -> Observation:
    """Run the tests, and tell what the containers did; files by their place in the profile."""
    with tempfile.TemporaryDirectory(prefix="traces-", dir=paths.SCRATCH) as folder:
        Path(folder).chmod(0o1777)  # containers run as different users
        tests = [f"tests/integration/test_{name}.py" for name in _TESTS]
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "tests.profiles.tracing", "-k", _NOT, *tests],
            cwd=paths.ROOT, env=os.environ | {tracing.TRACES: folder}, check=False,
        )  # fmt: skip
        traces = list(Path(folder).iterdir())
        if not traces:
            raise BuildError("Nothing was traced: no container could be started. The tests say why, above.")
        console.print(f"{len(traces)} processes were traced")
        found = observation.read(traces)
    found.files = {path: access for path, access in found.files.items() if not path.startswith(tracing.OWN)}
    try:
        return Observation(found.calls, apparmor.use(found.files), found.sockets)
    except apparmor.UnknownPlaceError as error:
        raise BuildError(f"{error}\nDecide about it in tests/profiles/apparmor.py.") from error


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s profiles --", description="Write the profiles in deploy/.")
    parser.add_argument("--check", action="store_true", help="run and write nothing; fail if a profile is stale")
    parser.add_argument("--again", action="store_true", help="run nothing; write the profiles from observed.json")
    options = parser.parse_args(arguments)
    if not (options.check or options.again):
        seen = observation.merge(observation.load(OBSERVED), observe())
        paths.write_text(OBSERVED, observation.dump(seen))
    seen = observation.load(OBSERVED)
    stale = []
    for path, text in ((SECCOMP, seccomp.profile(seen.calls)), (APPARMOR, apparmor.profile(seen))):
        shown = path.relative_to(paths.ROOT)
        if not options.check:
            console.print(f"{shown}: {'written' if paths.write_text(path, text) else 'up to date'}")
        elif not path.is_file() or path.read_text() != text:
            stale.append(str(shown))
    if stale:
        raise StaleError(
            f"Not what {OBSERVED.relative_to(paths.ROOT)} gives: {', '.join(stale)}."
            " Write again: scripts/nox -s profiles -- --again"
        )


if __name__ == "__main__":
    errors.run(main)
