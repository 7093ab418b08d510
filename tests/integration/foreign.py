"""Containers of platforms that this machine is not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scripts import emulation
from scripts.platforms import Platform


@contextmanager
def runnable(platform: Platform) -> Iterator[None]:
    """Let containers of `platform` run while the block does; skips the test where the machine does not allow that."""
    if not emulation.needed(platform):
        yield
        return
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can tell the kernel about QEMU")
    with emulation.emulated(platform):
        yield
