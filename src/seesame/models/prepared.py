"""Networks as they are computed on this machine, written once and mapped by all sessions that compute them.

ONNX Runtime optimises a graph and packs its weights anew for each session. `preparing` does both once, after `pruning`
and `signing`, and what it wrote is kept in the cache folder. Sessions map that file: two of them, or several processes,
hold the weights once, and opening one takes a fifth of a second.
"""

import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort

from seesame.errors import ModelInvalid
from seesame.files import sync, write_whole
from seesame.models.weights import digest, model_files
from seesame.types import Vectors

_log = logging.getLogger(__name__)

_VERSION: Final = 2  # of what is done to a graph
GRAPH: Final = "model.onnx"
WEIGHTS: Final = "weights.bin"
_MANIFEST: Final = "manifest.json"
_SAME: Final = 0.9999
_TIMEOUT_S: Final = 300
_UNUSED_S: Final = 30 * 24 * 3600


def prepared(source: Path, cache_dir: Path, probe: Callable[[Path], Vectors]) -> Path | None:
    """The graph to open instead of `source`; None where the cache cannot hold one, or a prepared one is not the same.

    `probe` gives the unit vectors that a graph computes for some input, always the same; what is prepared is used only
    if its vectors are those of `source`. The first time takes seconds, and twice the bytes of `source` on disk.
    """
    folder = cache_dir / "prepared" / _key(source)
    try:
        if folder.is_dir():
            if _is_sound(folder, probe):
                os.utime(folder)
                return folder / GRAPH
            shutil.rmtree(folder)
        return _made(source, folder, probe)
    except (OSError, subprocess.SubprocessError, ModelInvalid) as error:
        _log.warning("%s is used as it is, in more memory: %s", source.name, error)
        return None


def _made(source: Path, folder: Path, probe: Callable[[Path], Vectors]) -> Path | None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _forget_unused(folder.parent)
    _log.info("Preparing %s for this machine", source.name)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        # A process of its own: it takes several times the memory of the weights.
        command = [sys.executable, "-P", "-m", "seesame.models.preparing", str(source), str(made)]
        subprocess.run(command, check=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        expected = probe(source)
        manifest = {"sizes": _sizes(made), "probe": expected.tolist()}
        sync(made / WEIGHTS)
        write_whole(made / _MANIFEST, json.dumps(manifest).encode())
        if not _is_sound(made, probe):
            _log.warning("%s is used as it is: prepared, it computes something else", source.name)
            return None
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was faster
                raise
    return folder / GRAPH


def _is_sound(folder: Path, probe: Callable[[Path], Vectors]) -> bool:
    """Whether the files are whole and compute what they should."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        if manifest["sizes"] != _sizes(folder):
            return False
        cosines = np.sum(probe(folder / GRAPH) * np.array(manifest["probe"]), axis=1)
    except (OSError, ValueError, KeyError, ModelInvalid):
        return False
    return bool(np.all(cosines > _SAME))


def _sizes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_size for name in (GRAPH, WEIGHTS)}


def _key(source: Path) -> str:
    """What the prepared files depend on: the weights, the processor, and who prepares."""
    weights = digest([("graph", path) for path in model_files(source)])
    maker = (_VERSION, ort.__version__, version("onnx"), platform.machine(), processor())
    return f"{weights[:24]}-{hashlib.sha256(repr(maker).encode()).hexdigest()[:12]}"


def processor() -> str:
    """What the processor can do, since weights are packed for it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")


def _forget_unused(folder: Path) -> None:
    """Deletes what was not opened for a month: of models, or releases of ONNX Runtime, that are no longer here."""
    for old in folder.iterdir():
        if time.time() - old.stat().st_mtime > _UNUSED_S:
            shutil.rmtree(old, ignore_errors=True)
