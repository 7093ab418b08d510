"""What a scan can find: its checks, how severe they are, and one finding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is, worst first; `unknown` is what nobody has looked at yet."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NEGLIGIBLE = "negligible"
    UNKNOWN = "unknown"


def worst(severities: Iterable[Severity]) -> Severity:
    """The worst of several; `unknown` only if all are."""
    return min(severities, key=list(Severity).index)


@dataclass(frozen=True)
class Check:
    """One thing that is looked for, and how severe it is if the finding itself says nothing else."""

    description: str
    severity: Severity


VULNERABILITY = "vulnerability"
EXPIRED = "expired-ignore"
CHECKS = {
    VULNERABILITY: Check("A scanner knows a vulnerability of a locked package.", Severity.UNKNOWN),
    EXPIRED: Check("The policy ignores a vulnerability no longer.", Severity.HIGH),
    "security-update": Check("The security archive has a newer version than the lock.", Severity.HIGH),
    "update": Check("Another suite has a newer version than the lock.", Severity.LOW),
    "setuid": Check("A file or folder runs or creates as another user or group (setuid, setgid).", Severity.HIGH),
    "file-capability": Check("A file has capabilities (capabilities(7)).", Severity.HIGH),
    "extended-attribute": Check("A file has extended attributes.", Severity.LOW),
    "device": Check("Neither a file, nor a folder, nor a symbolic link.", Severity.MEDIUM),
    "world-writable": Check("Everybody may write.", Severity.MEDIUM),
    "secret": Check("A key, password or token.", Severity.CRITICAL),
    "dangling-link": Check("A symbolic link leads nowhere.", Severity.LOW),
    "missing-licence": Check("A package has no copyright file (Debian Policy 12.5).", Severity.MEDIUM),
    "unowned-file": Check("Neither from a locked package nor declared by the build.", Severity.HIGH),
    "altered-file": Check("Not what the locked package, or the repository, has there.", Severity.HIGH),
    "elf-pie": Check("A program that is always loaded to the same address.", Severity.MEDIUM),
    "elf-relro": Check("Tables of the loader stay writable (RELRO).", Severity.MEDIUM),
    "elf-bind-now": Check("The table of functions stays writable (BIND_NOW).", Severity.LOW),
    "elf-stack-protector": Check("No function is guarded by the stack protector.", Severity.LOW),
    "elf-fortify": Check("Functions of the C library are used, and none in its checked form.", Severity.LOW),
    "elf-executable-stack": Check("The stack is executable.", Severity.HIGH),
    "elf-text-relocation": Check("Code is written to when it is loaded (TEXTREL).", Severity.MEDIUM),
    "elf-run-path": Check("Libraries are searched where no package of Debian has any.", Severity.HIGH),
    "elf-unreadable": Check("Looks like an ELF file and cannot be read as one.", Severity.MEDIUM),
    "dockerfile": Check("BuildKit's own checks warn of something in the Dockerfile.", Severity.LOW),
    "user": Check("The container does not run as the user that the variant declares.", Severity.HIGH),
    "ports": Check("Not the ports that the variant declares.", Severity.LOW),
    "labels": Check("A label is missing, or not what the lock says.", Severity.LOW),
    "licence": Check("A Python package has a licence that the policy does not allow.", Severity.MEDIUM),
    "entrypoint": Check("The program that the container starts is not in the image.", Severity.HIGH),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that was found. `subject` is what a policy names: a vulnerability, a path, or a package.

    `package` and `version` are those of the source package, `fixed` is the version to have instead, `binaries` are the
    packages made of it that the image has, `layer` is where a path is.
    """

    check: str
    subject: str
    message: str
    severity: Severity
    package: str = ""
    version: str = ""
    fixed: str = ""
    binaries: tuple[str, ...] = ()
    scanners: tuple[str, ...] = ()
    layer: str = ""

    @classmethod
    def of(cls, check: str, subject: str, message: str, layer: str = "") -> Finding:
        """A finding as severe as its check."""
        return cls(check, subject, message, CHECKS[check].severity, layer=layer)
