"""What a decoding process takes away from itself, for good, before it sees a stranger's bytes."""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

_NOBODY = 65_534

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same numbers on all processors
_LANDLOCK_VERSION = 1


def confine(*, memory_bytes: int) -> None:
    """Drops what decoding does not need. What the platform lacks is left out.

    It gets no descriptor beside those that it has, so no file and no connection. On Linux it ends with the thread that
    started it, is the first to go where memory is short, is nobody where it was root, and Landlock keeps it from the
    file system, from other processes (their memory, their environment, signals) and from TCP.
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
