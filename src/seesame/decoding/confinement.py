"""What a decoding process takes away from itself, for good, before it sees a stranger's bytes."""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

_NOBODY = 65_534

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same numbers on all processors
_LANDLOCK_VERSION = 1

# By processor: the kernel's name for it; its numbers of seccomp, of clone, and of fork, vfork, execve and execveat.
_PROCESSORS = {
    "x86_64": (0xC000003E, 317, 56, (57, 58, 59, 322)),
    "aarch64": (0xC00000B7, 277, 220, (221, 281)),
}
_SET_FILTER = 1
_LET_SPECULATE = 4  # or decoding takes a fifth longer; it has nothing of its own to guard from itself
_CLONE3, _CLONE_THREAD = 435, 0x10000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _PROCESSOR_AT, _FLAGS_AT = 0, 4, 16  # in what the filter sees of a call; the last is its first argument
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000


def confine(*, memory_bytes: int) -> None:
    """Drops what decoding does not need. What the platform lacks is left out.

    It gets no descriptor beside those that it has, so no file and no connection. On Linux it ends with the thread that
    started it, is the first to go where memory is short, is nobody where it was root, and starts no process that would
    outlive it; Landlock keeps it from the file system, from other processes (their memory, their environment, signals)
    and from TCP.
    """
    if sys.platform == "linux":
        _confine_linux()
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 0,  # what is open stays so
        resource.RLIMIT_AS: memory_bytes,
    }
    for limit, most in limits.items():
        with suppress(ValueError, OSError):  # macOS takes no RLIMIT_AS below what is mapped already
            resource.setrlimit(limit, (most, most))


def _confine_linux() -> None:
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if os.geteuid() == 0:
        with suppress(OSError):  # a container may not let it
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _confine_by_landlock(libc)
    _refuse_processes(libc)


def _confine_by_landlock(libc: ctypes.CDLL) -> None:
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return
    # All that this kernel can deny: access to files, TCP, and processes outside by signals and abstract sockets.
    files = (1 << (12 + min(version, 3) + (version >= 5))) - 1
    denied = [files, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0]
    known = 1 + (version >= 4) + (version >= 6)
    rules = (ctypes.c_uint64 * known)(*denied[:known])
    descriptor = libc.syscall(_LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(ctypes.sizeof(rules)), 0)
    if descriptor < 0 or libc.syscall(_LANDLOCK_RESTRICT_SELF, descriptor, 0) < 0:
        raise OSError(ctypes.get_errno(), "Landlock refuses its rules.")
    libc.close(descriptor)


def _refuse_processes(libc: ctypes.CDLL) -> None:
    """Lets it start threads, which decoders need, and neither processes nor programs."""
    known = _PROCESSORS.get(platform.machine())
    if known is None:
        return
    processor, seccomp, clone, others = known
    steps = [  # what to do, with what value, and where to go if so and if not: None is the next step
        (_LOAD, _PROCESSOR_AT, None, None),
        (_EQUAL, processor, None, "refused"),  # by the numbers of another processor all would mean something else
        (_LOAD, _NUMBER_AT, None, None),
        (_AT_LEAST, 1 << 30, "refused", None),  # x86-64 has a second set of numbers there
        *((_EQUAL, number, "refused", None) for number in others),
        (_EQUAL, _CLONE3, "missing", None),  # its flags are out of sight; the C library takes clone then
        (_EQUAL, clone, None, "allowed"),
        (_LOAD, _FLAGS_AT, None, None),
        (_ANY_BIT, _CLONE_THREAD, "allowed", "refused"),
    ]
    ends = {"allowed": _ALLOW, "refused": _ERROR | errno.EPERM, "missing": _ERROR | errno.ENOSYS}
    at = {end: len(steps) + index for index, end in enumerate(ends)}

    def jump(here: int, end: str | None) -> int:
        return 0 if end is None else at[end] - here - 1

    program = [(code, jump(i, yes), jump(i, no), value) for i, (code, value, yes, no) in enumerate(steps)]
    program += [(_RETURN, 0, 0, value) for value in ends.values()]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    described = struct.pack("@HP", len(program), ctypes.addressof(code))
    libc.syscall(seccomp, _SET_FILTER, _LET_SPECULATE, described)
