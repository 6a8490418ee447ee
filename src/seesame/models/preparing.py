"""Writes a network as `prepared` keeps it; a program, since it takes several times the memory of the weights.

python -m seesame.models.preparing SOURCE FOLDER
"""

import sys
import tempfile
from pathlib import Path
from typing import Final

import onnx
import onnxruntime as ort

from seesame.models.prepared import GRAPH, WEIGHTS, processor
from seesame.models.pruning import prune
from seesame.models.session import session_options
from seesame.models.signing import gains_from_signs, sign
from seesame.models.weights import total_bytes

_MOST_CHANGED_BYTES: Final = 2**30


def write(source: Path, folder: Path) -> None:
    """Writes the graph, optimised, and beside it its weights, as they are and as ONNX Runtime packs them."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        graph = _changed(source, Path(scratch)) or source
        options = session_options(threads=1)
        options.optimized_model_filepath = str(folder / GRAPH)
        for name, value in (
            ("optimized_model_external_initializers_file_name", WEIGHTS),
            ("optimized_model_external_initializers_min_size_in_bytes", "1024"),
            ("save_external_prepacked_constant_initializers", "1"),
        ):
            options.add_session_config_entry(f"session.{name}", value)
        ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _changed(source: Path, scratch: Path) -> Path | None:
    """The graph pruned and signed, its weights in a file beside it that is mapped; None where it stays as it is."""
    if total_bytes(source) > _MOST_CHANGED_BYTES:
        return None
    model = onnx.load(source)
    signed = sign(model) if gains_from_signs(processor()) else 0
    if not prune(model) and not signed:
        return None
    changed = scratch / "changed.onnx"
    onnx.save_model(model, changed, save_as_external_data=True, location="changed.bin", size_threshold=1024)
    return changed


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
