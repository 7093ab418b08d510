"""What can go wrong for a user: one class and one exit status for each kind.

A message says what happened, where, and what to do next. No user error ever shows a traceback.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from typing import ClassVar, NoReturn

from rich.markup import escape

from scripts.console import console


class UserError(Exception):
    """Base of all errors that a user can cause or mend."""

    exit_status: ClassVar[int] = 1


class UsageError(UserError):
    """The command line asks for something that does not exist."""

    exit_status = 2


class VariantError(UserError):
    """A variant file is not valid; the message lists every problem with its position."""

    exit_status = 10


class CatalogueError(UserError):
    """A catalogue of images/ is not valid; the message lists every problem with its position."""

    exit_status = 20


class LockError(UserError):
    """A lock is missing, unreadable, stale, or no set of packages satisfies the variant."""

    exit_status = 11


class SignatureError(UserError):
    """An archive's index is not signed by a trusted key, was altered, or has expired."""

    exit_status = 12


class FetchError(UserError):
    """No mirror gave the bytes that were asked for."""

    exit_status = 13


class GoneError(FetchError):
    """Every mirror answered, and none has the file any more."""

    exit_status = 14


class EngineError(UserError):
    """No usable Docker engine, and none could be started."""

    exit_status = 15


class BuildError(UserError):
    """BuildKit could not build the image."""

    exit_status = 16


class DigestError(UserError):
    """The build is not the one whose digests are committed."""

    exit_status = 17


class StaleError(UserError):
    """A generated file in the repository is not what its source generates."""

    exit_status = 18


class DiskFullError(UserError):
    """The disk, or the quota on it, is used up."""

    exit_status = 19


class DeniedError(UserError):
    """A file or folder may not be read or written by who runs the command."""

    exit_status = 28


class RegistryError(UserError):
    """A registry cannot be reached, or refuses."""

    exit_status = 21


class AbsentError(RegistryError):
    """A registry answered, and does not have what was asked for."""

    exit_status = 27


class FindingsError(UserError):
    """A scan or an audit found what the policy does not let pass."""

    exit_status = 22


class ScannerError(UserError):
    """A scanner is not there, failed, cannot reach the service that it asks, or was given data that it cannot read."""

    exit_status = 23


class SigningError(UserError):
    """Nobody can sign, or a signature is missing or not valid."""

    exit_status = 24


class RecordError(UserError):
    """No signed records say that an image was verified, scanned and tested in the state of this checkout."""

    exit_status = 25


class ReleaseError(UserError):
    """A release would break a promise: a fixed tag would move, or what came back is not what was sent."""

    exit_status = 26


INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def run(command: Callable[[Sequence[str]], None]) -> None:
    """Run `command` with the process arguments and exit with the documented status.

    This is the only place that turns exceptions into exit statuses and messages.
    """
    try:
        command(sys.argv[1:])
    except UserError as error:
        fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        fail("Interrupted. Nothing half-written is left behind; run the same command again.", INTERRUPTED)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
            fail(
                f"{error.filename}: {error.strerror}. Run the command as a user who may read and write there, or"
                " let this one. What is fetched is kept below XDG_CACHE_HOME, which may be set to another folder.",
                DeniedError.exit_status,
            )
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        fail(
            f"The disk is full{where}. Free some space and run the same command again: what was fetched so far"
            " is kept.",
            DiskFullError.exit_status,
        )


def fail(message: str, status: int) -> NoReturn:
    """Print `message` in red on standard error and exit with `status`."""
    console.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(status)
