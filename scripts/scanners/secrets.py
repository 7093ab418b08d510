"""Keys, passwords and tokens in files and settings, by the patterns of detect-secrets.

Nothing is asked of the services that tokens are for.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache

from detect_secrets import plugins
from detect_secrets.plugins.base import RegexBasedDetector

_NO_SECRETS = ("IPPublicDetector",)


@cache
def _detectors() -> tuple[RegexBasedDetector, ...]:
    """Those that know a secret by its form; others guess by its entropy, or by words around it."""
    found: list[RegexBasedDetector] = []
    for module in pkgutil.iter_modules(plugins.__path__):
        members = vars(importlib.import_module(f"{plugins.__name__}.{module.name}")).values()
        found += [
            member()
            for member in members
            if isinstance(member, type)
            and issubclass(member, RegexBasedDetector)
            and not inspect.isabstract(member)
            and member.__name__ not in _NO_SECRETS
        ]
    return tuple(found)


def kinds(content: bytes) -> Iterator[str]:
    """What kinds of secrets are in `content`, each once; never the secrets themselves, as reports are public."""
    text = content.decode("latin-1")  # which has a letter for every byte
    for detector in _detectors():
        if any(True for _ in detector.analyze_string(text)):
            yield str(detector.secret_type)
