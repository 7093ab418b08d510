"""The build system: each module is one arrow of `variant -> lock -> Dockerfile -> packages -> image -> digest`.

Every verb is also a command, `python -m scripts.<verb>`; Nox only calls these.
"""

from __future__ import annotations

import sys
from types import TracebackType


def _quiet_interrupt(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Let Ctrl-C end a command without a traceback even while its modules are still being imported."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _quiet_interrupt
