"""The platforms a variant can be built for, in the names of OCI, Dockerfiles, distributions and QEMU."""

from __future__ import annotations

import platform as host
from dataclasses import dataclass

from scripts.errors import UsageError


@dataclass(frozen=True, order=True)
class Platform:
    """One target, `os/architecture[/variant]` in OCI's terms (image-spec, "Platform Variants").

    `debian` and `alpine` are the architecture's names in these distributions, empty where they have it not; `qemu` is
    the name of QEMU's user emulator for it.
    """

    name: str
    debian: str
    alpine: str
    qemu: str

    def named_by(self, distribution: str) -> str:
        """The architecture's name in a distribution, empty if that does not have it."""
        return {"debian": self.debian, "alpine": self.alpine}[distribution]

    @property
    def architecture(self) -> str:
        """GOARCH value, as in OCI's `platform.architecture`."""
        return self.name.split("/")[1]

    @property
    def variant(self) -> str:
        """CPU variant such as `v7`, or the empty string."""
        return self.name.split("/")[2] if self.name.count("/") == 2 else ""

    @property
    def tag(self) -> str:
        """Name that BuildKit's TARGETARCH and TARGETVARIANT give together, such as `armv7`."""
        return self.architecture + self.variant

    def __str__(self) -> str:
        return self.name


PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform("linux/amd64", "amd64", "x86_64", "x86_64"),
        Platform("linux/arm64", "arm64", "aarch64", "aarch64"),
        Platform("linux/arm/v7", "armhf", "armv7", "arm"),
        Platform("linux/arm/v6", "", "armhf", "arm"),
        Platform("linux/arm/v5", "armel", "", "arm"),
        Platform("linux/386", "i386", "x86", "i386"),
        Platform("linux/riscv64", "riscv64", "riscv64", "riscv64"),
        Platform("linux/ppc64le", "ppc64el", "ppc64le", "ppc64le"),
        Platform("linux/s390x", "s390x", "s390x", "s390x"),
    )
}

# What `uname -m` says, for the machines that a build may run on.
_MACHINES = {
    "x86_64": "linux/amd64",
    "amd64": "linux/amd64",
    "aarch64": "linux/arm64",
    "arm64": "linux/arm64",
    "armv7l": "linux/arm/v7",
    "armv6l": "linux/arm/v6",
    "i686": "linux/386",
    "riscv64": "linux/riscv64",
    "ppc64le": "linux/ppc64le",
    "s390x": "linux/s390x",
}


def native() -> Platform:
    """Platform of this machine (on macOS: of Docker's Linux machine).

    Raises UsageError on a machine no image is built for.
    """
    machine = host.machine().lower()
    if machine not in _MACHINES:
        raise UsageError(
            f"This machine is a {machine!r}, for which no image is built."
            f" Name a platform: --platform {'|'.join(PLATFORMS)}"
        )
    return PLATFORMS[_MACHINES[machine]]
