"""What all tests need."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let tests interrupt the programs that they start.

    A shell without job control has what it starts in the background ignore SIGINT (POSIX.1-2017, Shell Command
    Language, 2.11), which programs inherit.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
