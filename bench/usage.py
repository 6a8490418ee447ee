"""What processes take of the machine."""

import resource
from pathlib import Path

import psutil


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    try:  # unlike getrusage, it knows nothing of the process that this one was started from
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory_bytes(pid: int) -> int:
    """What a process has in memory; what is mapped twice, or by others too, counts once in all (Linux's PSS)."""
    info = psutil.Process(pid).memory_full_info()
    pss: int = getattr(info, "pss", info.uss)
    return pss


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process and those below it took, ended or not."""
    process = psutil.Process(pid)
    times = [process.cpu_times(), *(child.cpu_times() for child in process.children(recursive=True))]
    ended = times[0].children_user + times[0].children_system
    return float(sum(one.user + one.system for one in times) + ended)
