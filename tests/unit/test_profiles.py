"""The profiles in deploy/: what they are made from, what they admit, and whether their programs take them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from scripts import toolset
from tests.profiles import __main__ as profiles
from tests.profiles import apparmor, observation, seccomp
from tests.profiles.observation import Observation

TRACE = """\
execve("/usr/bin/tini", ["/usr/bin/tini", "--"], 0x7ffc /* 5 vars */) = 0
openat(AT_FDCWD</>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
mmap(NULL, 192512, PROT_READ|PROT_EXEC, MAP_PRIVATE, 3</usr/lib/x/libc.so.6>, 0x17000) = 0x7f63d352d000
mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, 3</usr/lib/x/data>, 0) = 0x7f63d352e000
openat(AT_FDCWD</>, "/nothing", O_RDONLY) = -1 ENOENT (No such file or directory)
openat(AT_FDCWD</var/lib/prosody>, "a.new", O_WRONLY|O_CREAT, 0666) = 4</var/lib/prosody/a.new>
rename("/var/lib/prosody/a.new", "/var/lib/prosody/a") = 0
unlinkat(5</var/lib/prosody>, "b", 0)       = 0
fcntl(4</var/lib/prosody/db>, F_SETLK, {l_type=F_WRLCK, l_whence=SEEK_SET, l_start=1, l_len=1}) = 0
socket(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 5<TCPv6:[1]>
socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)     = -1 EPERM (Operation not permitted)
epoll_pwait2(3, [], 1, NULL, NULL, 8)       = -1 ENOSYS (Function not implemented)
rseq(0x7f63d3, 0x20, 0, 0x53053053)         = 0
--- SIGTERM {si_signo=SIGTERM, si_code=SI_USER} ---
exit_group(0)                               = ?
+++ exited with 0 +++
"""


@pytest.fixture
def seen(tmp_path: Path) -> Observation:
    """What is in TRACE."""
    path = tmp_path / "trace.1"
    path.write_text(TRACE)
    return observation.read([path])


def test_a_trace_tells_what_was_done(seen: Observation) -> None:
    assert seen.calls == {
        "execve", "exit_group", "fcntl", "mmap", "openat", "rename", "rseq", "socket", "unlinkat",
    }  # fmt: skip
    assert {path: "".join(sorted(access)) for path, access in seen.files.items()} == {
        "/usr/bin/tini": "x",
        "/etc/ld.so.cache": "r",
        "/usr/lib/x/libc.so.6": "m",
        "/var/lib/prosody/a.new": "rw",
        "/var/lib/prosody/a": "rw",
        "/var/lib/prosody/b": "w",
        "/var/lib/prosody/db": "k",
    }
    assert seen.sockets == {("inet6", "stream")}


def test_what_was_seen_survives_writing_and_adds_up(seen: Observation, tmp_path: Path) -> None:
    path = tmp_path / "observed.json"
    path.write_text(observation.dump(seen))
    assert observation.load(path) == seen
    more = Observation({"getpid"}, {"/etc/ld.so.cache": {"w"}, "/etc/hosts": {"r"}}, {("unix", "stream")})
    both = observation.merge(seen, more)
    assert both.calls == seen.calls | {"getpid"}
    assert both.files["/etc/ld.so.cache"] == {"r", "w"}
    assert len(both.sockets) == 2
    assert seen.files["/etc/ld.so.cache"] == {"r"}, "the merged ones stay as they are"


def test_files_are_told_by_their_place(seen: Observation) -> None:
    used = apparmor.use(seen.files)
    assert used["/var/lib/prosody/{,**}"] == {"r", "w", "k"}
    assert used["/usr/bin/{tini,lua5.4}"] == {"x"}


def test_a_file_without_a_place_is_an_error() -> None:
    with pytest.raises(apparmor.UnknownPlaceError, match=r"no place admits: /root/secret \(w\)"):
        apparmor.use({"/root/secret": {"w"}, "/etc/hosts": {"r"}})


@pytest.mark.parametrize(
    ("pattern", "path", "admitted"),
    [
        ("/a/**", "/a/b/c", True),
        ("/a/**", "/a", False),
        ("/a/{,**}", "/a", True),
        ("/a/{,**}", "/a/b", True),
        ("/a/{,**}", "/ab", False),
        ("/a/*", "/a/b/c", False),
        ("/a/{b,c}", "/a/c", True),
        ("/a/{b,c}", "/a/d", False),
        ("/a.b", "/aXb", False),
    ],
)
def test_patterns_mean_what_apparmor_says(pattern: str, path: str, admitted: bool) -> None:
    assert apparmor.Place(pattern, "").admits(path) == admitted


# As committed.


def test_the_committed_profiles_are_what_was_seen() -> None:
    profiles.main(["--check"])


def committed() -> Observation:
    return observation.load(profiles.OBSERVED)


def test_the_filter_admits_what_was_seen_and_little_more() -> None:
    value = json.loads(profiles.SECCOMP.read_text())
    assert value["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [name for rule in value["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]]
    assert committed().calls - {"clone3", "fork", "vfork"} <= set(allowed)
    assert len(allowed) == len(set(allowed)) + 1, "each once, but clone once for each order of arguments"
    assert len(set(allowed)) < 200
    dangerous = {
        "acct", "add_key", "bpf", "chroot", "delete_module", "finit_module", "init_module", "io_uring_setup", "kcmp",
        "kexec_load", "keyctl", "mknod", "mknodat", "mount", "move_mount", "name_to_handle_at", "open_by_handle_at",
        "perf_event_open", "personality", "pidfd_getfd", "pivot_root", "process_vm_readv", "process_vm_writev",
        "ptrace", "quotactl", "reboot", "request_key", "sethostname", "setns", "swapon", "syslog", "umount", "umount2",
        "unshare", "userfaultfd", "vmsplice",
    }  # fmt: skip
    assert not dangerous & set(allowed)


def test_the_filter_of_nothing_is_only_what_every_program_needs() -> None:
    value = json.loads(seccomp.profile(set()))
    allowed = {name for rule in value["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert "socket" not in allowed
    assert "execve" in allowed


def test_apparmor_takes_the_profile() -> None:
    tools = toolset.unpack("confinement")
    done = subprocess.run(
        [*tools.command("usr/sbin/apparmor_parser"), "--skip-kernel-load", "--skip-cache", "--base",
         str(tools.root / "etc/apparmor.d"), str(profiles.APPARMOR)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_apparmor_refuses_what_is_none(tmp_path: Path) -> None:
    """The control: the parser looks."""
    wrong = tmp_path / "prosody"
    wrong.write_text(profiles.APPARMOR.read_text().replace("  deny ptrace,", "  deny peace,"))
    tools = toolset.unpack("confinement")
    done = subprocess.run(
        [*tools.command("usr/sbin/apparmor_parser"), "--skip-kernel-load", "--skip-cache", "--base",
         str(tools.root / "etc/apparmor.d"), str(wrong)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0


@pytest.mark.parametrize(
    ("path", "access"),
    [("/bin/sh", "x"), ("/usr/bin/env", "x"), ("/etc/shadow", "w"), ("/usr/lib/prosody/core/configmanager.lua", "w"),
     ("/proc/1/mem", "r"), ("/root/.ssh/id", "r"), ("/usr/bin/lua5.4", "w"), ("/var/log/x", "w")],
)  # fmt: skip
def test_the_profile_does_not_admit(path: str, access: str) -> None:
    files = committed().files
    assert not any(access in files.get(place.pattern, set()) and place.admits(path) for place in apparmor.PLACES), (
        f"{access} of {path}"
    )
