"""Runs at the same time do not take emulation from each other, and what a killed one left goes with the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from scripts import emulation
from scripts.platforms import Platform

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux can tell the kernel about QEMU"
)
# One that no image is made for: other tests and other runs have theirs emulated meanwhile.
PLATFORM = Platform("linux/mips64le", debian="", alpine="", qemu="mips64el")
_LIST = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc && ls /proc/sys/fs/binfmt_misc"


def entries() -> set[str]:
    """Names of the kernel's entries for the platform."""
    done = subprocess.run(["unshare", "--mount", "/bin/sh", "-c", _LIST], capture_output=True, text=True, check=True)
    return {name for name in done.stdout.split() if name.startswith(f"prosody-{PLATFORM.qemu}-")}


def test_the_end_of_one_run_leaves_the_other_its_emulation() -> None:
    with emulation.emulated(PLATFORM):
        first = entries()
        with emulation.emulated(PLATFORM):
            second = entries()
        assert first < second
        assert first <= entries()
    assert not second & entries()


def test_what_a_killed_run_left_is_taken_away_by_the_next() -> None:
    program = (
        "import os, signal; from scripts import emulation; from scripts.platforms import Platform\n"
        f"with emulation.emulated({PLATFORM!r}): os.killpg(0, signal.SIGKILL)"
    )
    # Without anybody who has the table of entries mounted, the kernel would drop it whole.
    with emulation.emulated(PLATFORM):
        before = entries()
        killed = subprocess.run([sys.executable, "-c", program], start_new_session=True, check=False)
        assert killed.returncode == -signal.SIGKILL
        left = entries() - before
        assert left
        with emulation.emulated(PLATFORM):
            assert not left & entries()
