"""QEMU user emulation, to run images of other platforms in tests. Building never needs it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from scripts import platforms, toolset
from scripts.errors import EngineError
from scripts.platforms import Platform

# binfmt_misc is mounted where nobody sees it: in a mount namespace of its own, which lasts until the program's standard
# input ends, or until it is killed. $1: how names of entries begin, the rest is the number of the process that made it;
# $2: the rule after the name.
_HOLD = """set -e
table=/proc/sys/fs/binfmt_misc
mount -t binfmt_misc binfmt_misc "$table"
for entry in "$table/$1"-*; do
    if [ -e "$entry" ] && [ ! -e "/proc/${entry##*-}/exe" ]; then echo -1 > "$entry" || true; fi
done
printf '%s' ":$1-$$:$2" > "$table/register"
echo ready
read -r _ || true
echo -1 > "$table/$1-$$"
"""


def needed(platform: Platform) -> bool:
    """Whether this machine's processor does not run programs of `platform` by itself."""
    native = platforms.native().name
    return platform.name != native and (native, platform.name) != ("linux/amd64", "linux/386")


@contextmanager
def emulated(platform: Platform) -> Iterator[None]:
    """Let this machine's kernel run programs of `platform` while the block runs.

    The kernel is told to start the locked QEMU for them (Documentation/admin-guide/binfmt-misc.rst). Flag F opens QEMU
    at once, so containers need not hold it. The entry goes with the block. There may be several, for runs at the same
    time; what killed runs left is taken away. Raises EngineError without the needed rights.
    """
    tools = toolset.unpack("emulation").root
    interpreter = tools / "usr/bin" / f"qemu-{platform.qemu}"
    rule = (tools / "usr/share/qemu/binfmt.d" / f"qemu-{platform.qemu}.conf").read_text().strip()
    # Kind, offset, magic and mask stay; name, interpreter and flags are ours.
    kind, offset, magic, mask = rule.split(":")[2:6]
    name = f"prosody-{platform.qemu}"
    own = f"{kind}:{offset}:{magic}:{mask}:{interpreter}:F"
    with subprocess.Popen(
        ["unshare", "--mount", "/bin/sh", "-c", _HOLD, "sh", name, own],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        if holder.stdout is None or holder.stdout.readline() != "ready\n":
            reason = holder.communicate()[1].strip()
            raise EngineError(f"The kernel does not take a rule for emulation (binfmt_misc): {reason}")
        try:
            yield
        finally:
            holder.communicate()
