"""`seesame` with a model that is as slow as a test wants, and which writes down what it computes.

Run as `python -m tests.faults.program clip`, or any other command. The environment says what is different:
`FAULTS_PACE` is a file with the seconds that a picture takes in a run of CLIP, read again all the time;
`FAULTS_COMPUTED` a file that gets a byte for each picture when its computation begins and one when it ends;
`FAULTS_LEASE_S` the lease of a worker, and of an import.
"""

import os
import time
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seesame import application, cli
from seesame.indexing import Indexer
from seesame.job_runner import JobRunner
from seesame.models.clip import ClipModel
from seesame.models.fallback import FallbackModel
from seesame.types import Vectors

BEGUN, ENDED = b"<", b">"
_LOOK_S = 0.005


def main() -> None:
    """Changes what the environment says, and is `seesame` from there on."""
    pace, computed = os.environ.get("FAULTS_PACE"), os.environ.get("FAULTS_COMPUTED")
    if pace:
        _slow_down(Path(pace))
    if computed:
        log = os.open(computed, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for model in (ClipModel, FallbackModel):
            _write_down(model, log)
    if lease_s := os.environ.get("FAULTS_LEASE_S"):
        vars(application)["Indexer"] = partial(Indexer, lease_s=float(lease_s))
        vars(application)["JobRunner"] = partial(JobRunner, lease_s=float(lease_s))
    cli.main()


def _slow_down(pace: Path) -> None:
    images = ClipModel.images

    def slow(self: ClipModel, tensors: NDArray[np.float32], *, alone: bool = True) -> Vectors:
        started = time.monotonic()
        while time.monotonic() < started + len(tensors) * float(pace.read_text() or 0):
            time.sleep(_LOOK_S)
        return images(self, tensors, alone=alone)

    ClipModel.images = slow  # type: ignore[method-assign]


def _write_down(model: type[ClipModel | FallbackModel], log: int) -> None:
    images = model.images

    def written(self: ClipModel | FallbackModel, tensors: NDArray[np.float32], *, alone: bool = True) -> Vectors:
        os.write(log, BEGUN * len(tensors))
        vectors = images(self, tensors, alone=alone)  # type: ignore[arg-type]
        os.write(log, ENDED * len(tensors))
        return vectors

    model.images = written  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
