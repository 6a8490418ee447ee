"""ONNX Runtime sessions, opened in one way for every model."""

import ctypes
import math
import os
from pathlib import Path
from typing import Any

import onnxruntime as ort
import psutil
from numpy.typing import NDArray

from seesame.errors import ModelInvalid

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def default_threads() -> int:
    """How many threads a model computes with: the physical cores that this process may use.

    Heeds the process's affinity and a container's CPU quota: more threads than that only get in each other's way.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or usable
    return max(1, min(usable, physical, _quota()))


def open_session(path: Path, *, threads: int | None = None) -> ort.InferenceSession:
    """A session on the CPU. Raises ModelInvalid when ONNX Runtime refuses the file."""
    options = session_options(threads=threads or default_threads())
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelInvalid(f"{path.name} is not a model that ONNX Runtime can load.") from error
    _give_back_memory()
    return session


def session_options(*, threads: int) -> ort.SessionOptions:
    """What all sessions are opened with."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Its arena grows by doubling and never shrinks: 170 MB more for CLIP, and no faster.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3  # its warnings are about the exporter's style, not about anything to act on
    return options


def _give_back_memory() -> None:
    """Returns what the C library keeps of freed memory: after the weights are packed anew, a tenth of the process."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


def _quota() -> int:
    try:
        quota, period = _CPU_QUOTA.read_text(encoding="ascii").split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # not Linux, no control group, or "max": no quota
        return os.cpu_count() or 1


def run(session: ort.InferenceSession, output: str, feed: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """One output of the network. Raises ModelInvalid when it cannot be computed for this input."""
    try:
        result: NDArray[Any] = session.run([output], feed)[0]
    except Exception as error:
        raise ModelInvalid("The model cannot compute this input.") from error
    return result
