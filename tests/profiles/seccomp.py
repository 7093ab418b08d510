"""Observation -> seccomp profile in Docker's format.

The format is that of Docker's documentation ("Seccomp security profiles for Docker") and the OCI runtime specification.
What was seen on one machine is not all: another kernel, C library or processor has other calls for the same purpose.
Those are here, each with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Set

# If one of the first was seen, the others serve the same purpose elsewhere.
_SAME = (
    ("open", "openat", "openat2"),
    ("access", "faccessat", "faccessat2"),
    ("stat", "stat64", "lstat", "lstat64", "newfstatat", "fstatat64", "statx"),
    ("fstat", "fstat64"),
    ("statfs", "statfs64"),
    ("fstatfs", "fstatfs64"),
    ("readlink", "readlinkat"),
    ("mkdir", "mkdirat"),
    ("rename", "renameat", "renameat2"),
    ("unlink", "unlinkat", "rmdir"),
    ("link", "linkat"),
    ("symlink", "symlinkat"),
    ("chmod", "fchmodat", "fchmodat2"),
    ("getdents", "getdents64"),
    ("lseek", "_llseek"),
    ("mmap", "mmap2"),
    ("ftruncate", "ftruncate64"),
    ("truncate", "truncate64"),
    ("pread64", "preadv", "preadv2"),
    ("pwrite64", "pwritev", "pwritev2"),
    ("fcntl", "fcntl64"),
    ("pipe", "pipe2"),
    ("dup2", "dup3", "dup"),
    ("poll", "ppoll", "ppoll_time64"),
    ("select", "_newselect", "pselect6", "pselect6_time64"),
    ("epoll_create", "epoll_create1"),
    ("epoll_wait", "epoll_pwait", "epoll_pwait2"),
    ("eventfd", "eventfd2"),
    ("signalfd", "signalfd4"),
    ("inotify_init", "inotify_init1"),
    ("accept", "accept4"),
    ("recvfrom", "recv"),
    ("sendto", "send"),
    ("recvmsg", "recvmmsg", "recvmmsg_time64"),
    ("sendmsg", "sendmmsg"),
    ("fork", "vfork", "clone"),
    ("wait4", "waitpid", "waitid"),
    ("rt_sigtimedwait", "rt_sigtimedwait_time64"),
    ("futex", "futex_time64", "futex_waitv"),
    ("getuid", "getuid32", "geteuid", "geteuid32"),
    ("getgid", "getgid32", "getegid", "getegid32"),
    ("setuid", "setuid32", "setresuid", "setresuid32"),
    ("setgid", "setgid32", "setresgid", "setresgid32"),
    ("setgroups", "setgroups32"),
    ("getgroups", "getgroups32"),
    ("prlimit64", "getrlimit", "ugetrlimit"),
    ("nanosleep", "clock_nanosleep", "clock_nanosleep_time64"),
    ("arch_prctl", "set_thread_area", "get_thread_area", "set_tls", "cacheflush", "riscv_flush_icache",
     "riscv_hwprobe"),
    ("utimensat", "utimensat_time64", "utime", "utimes", "futimesat"),
)  # fmt: skip

_ALWAYS = {
    "Time: usually answered without the kernel, but not under every virtual machine": (
        "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64", "gettimeofday", "time", "times",
    ),
    "Beginning and end of programs, threads, signals and memory, which C libraries use as they need": (
        "brk", "exit", "exit_group", "getpid", "getppid", "gettid", "madvise", "membarrier", "mprotect", "mremap",
        "munmap", "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn",
        "rt_sigsuspend", "sched_getaffinity", "sched_yield", "set_robust_list", "set_tid_address", "sigaltstack",
        "sigreturn", "tgkill", "kill", "uname", "sysinfo",
    ),
    "Sockets on 32-bit processors and s390x, where one call stands for all": ("socketcall", "ipc"),
    "The container runtime, between loading this filter and starting the program": (
        "capget", "capset", "chdir", "close", "close_range", "dup3", "execve", "fchdir", "fchown", "fstat", "futex",
        "getcwd", "getdents64", "newfstatat", "openat", "openat2", "prctl", "read", "setgid", "setgroups", "setresgid",
        "setresuid", "setuid", "statfs", "fstatfs", "umask", "write",
    ),
    "Files of databases (SQLite) and uploads": ("fdatasync", "fsync", "fallocate", "sync_file_range"),
}  # fmt: skip

_ARCHITECTURES = (
    ("SCMP_ARCH_X86_64", ("SCMP_ARCH_X86", "SCMP_ARCH_X32")),
    ("SCMP_ARCH_AARCH64", ("SCMP_ARCH_ARM",)),
    ("SCMP_ARCH_RISCV64", ()),
    ("SCMP_ARCH_PPC64LE", ()),
    ("SCMP_ARCH_S390X", ("SCMP_ARCH_S390",)),
)

# New namespaces are how a process would get at what only root may do: CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET
# (clone(2)). On s390x the first two arguments stand the other way round.
_NAMESPACES = 0x7E020000
_EPERM, _ENOSYS = 1, 38


def profile(calls: Set[str]) -> str:
    """Text of the profile for programs that were seen to make these system calls."""
    always = {name for names in _ALWAYS.values() for name in names}
    seen = {call for call in calls if call not in ("clone", "clone3", "fork", "vfork")}
    same = {name for group in _SAME if seen & set(group) for name in group} - seen - {"clone", "vfork", "fork"}
    rules = [
        _allow("What the tests of the image were seen to do", seen),
        _allow("The same on other kernels, C libraries and processors", same - always),
    ]
    admitted = seen | (same - always)
    for reason, names in _ALWAYS.items():
        rules.append(_allow(reason, set(names) - admitted))
        admitted |= set(names)
    for position, excluded in ((0, {"includes": {}, "excludes": {"arches": ["s390", "s390x"]}}),
                               (1, {"includes": {"arches": ["s390", "s390x"]}, "excludes": {}})):  # fmt: skip
        rules.append(
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": position, "value": _NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
                "comment": "Processes and threads, but no new namespaces",
                **excluded,
            }
        )
    rules.append(
        {
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": _ENOSYS,
            "comment": "Its arguments cannot be looked at; C libraries then use clone",
        }
    )
    value = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "archMap": [{"architecture": name, "subArchitectures": list(others)} for name, others in _ARCHITECTURES],
        "syscalls": [rule for rule in rules if rule["names"]],
    }
    return json.dumps(value, indent=1) + "\n"


def _allow(reason: str, names: Set[str]) -> dict[str, object]:
    return {"names": sorted(names), "action": "SCMP_ACT_ALLOW", "comment": reason}
