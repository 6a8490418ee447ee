"""CLIP and its kin (SigLIP, open_clip's models): a picture tower and a text tower that share one space."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from seesame.errors import ModelInvalid
from seesame.models.folder import ModelFiles, Precision, TextFiles, find_model
from seesame.models.prepared import prepared
from seesame.models.preprocessing import Preprocessing
from seesame.models.session import default_threads, open_session, run
from seesame.models.tokens import TextTokenizer
from seesame.models.vectors import unit_rows
from seesame.models.weights import digest, model_files, total_bytes
from seesame.types import SpaceIdentity, Vectors

_PROBE_BATCH: Final = 2
_PREPARED_BYTES: Final = 64 * 2**20
"""Networks from this size on are prepared: smaller ones are opened as fast, and may lie in memory twice."""
_SAME: Final = 0.99
"""Cosine above which two results are the same; quantised graphs round by what else is in the batch."""
_NUMBERS: Final = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
_OUTPUT_NAMES: Final = ("image_embeds", "text_embeds", "embedding", "embeddings", "pooler_output")
_MASK: Final = "attention_mask"


class ClipModel:
    """A CLIP model from a folder. Safe to call from several threads."""

    def __init__(self, files: ModelFiles, *, name: str, threads: int, cache_dir: Path | None) -> None:
        whole = _digest(files)  # first: it checks where the graphs' weights lie, before anything opens them
        self._visual = _VisualTower(files, threads, cache_dir)
        self._textual = _TextTower(files.textual, threads) if files.textual else None
        self._preprocessing = files.preprocessing
        dimensions = self._visual.dimensions
        if self._textual is not None and self._textual.dimensions != dimensions:
            raise ModelInvalid("The picture tower and the text tower do not share a space.")
        self._identity = SpaceIdentity(name, whole, dimensions)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        name: str,
        precision: Precision = "fp32",
        threads: int | None = None,
        cache_dir: Path | None = None,
    ) -> "ClipModel":
        """The model in `folder`, proved by one inference of each tower.

        `name` becomes the name of the space. `threads` is how many compute, by default the cores this process may
        use. In `cache_dir` a large network is prepared for this machine; without, it takes more time and memory.
        Raises ModelInvalid, naming the file, when the folder is not a usable model.
        """
        files = find_model(folder, precision)
        return cls(files, name=name, threads=threads or default_threads(), cache_dir=cache_dir)

    @property
    def identity(self) -> SpaceIdentity:
        """The space that the vectors belong to.

        Its digest is over both towers' weights, the tokenizer and the preprocessing: a change in any of them can move
        a vector.
        """
        return self._identity

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes the tensor it takes."""
        return self._preprocessing

    @property
    def has_text(self) -> bool:
        """Whether the model has a text tower."""
        return self._textual is not None

    @property
    def parallel_runs(self) -> int:
        """Two, each with half of the threads: the threads of one run wait for each other, two runs do not."""
        return 2 if self._visual.shares else 1

    @property
    def pictures_per_run(self) -> int:
        """Enough that the weights are read once for many pictures; more gain nothing."""
        if self._visual.batch_fixed:
            return 1
        return 8 if self._visual.shares else 16

    def images(self, tensors: NDArray[np.float32], *, alone: bool = True) -> Vectors:
        """Unit vectors, shape (n, dimensions), for preprocessed pictures, shape (n, 3, height, width).

        Raises ModelInvalid when the model returns anything that is not a direction.
        """
        return self._visual.vectors(tensors, alone=alone)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (n, dimensions), one row a text. Raises ModelInvalid where `has_text` is False."""
        if self._textual is None:
            raise ModelInvalid("This model has no text tower.")
        return self._textual.vectors(texts)


class _Opened(NamedTuple):
    """A session of the graph that takes pictures, and what was found out about it."""

    session: ort.InferenceSession
    input: Any
    output: str
    batch_fixed: bool
    proof: Vectors


class _VisualTower:
    """The graph that takes pictures, in two sessions: for one run on all threads, and for two runs at once."""

    def __init__(self, files: ModelFiles, threads: int, cache_dir: Path | None) -> None:
        graph, source = None, files.visual
        large = total_bytes(source) >= _PREPARED_BYTES
        if large and cache_dir is not None:
            graph = prepared(source, cache_dir, lambda path: _opened(path, files, threads).proof)
        self._wide = _opened(graph or source, files, threads)
        self._narrow: ort.InferenceSession | None = None
        if threads > 1 and (graph is not None or not large):  # else the weights would lie in memory twice
            self._narrow = open_session(graph or source, threads=threads // 2)
        self.dimensions = self._wide.proof.shape[1]
        self.batch_fixed = self._wide.batch_fixed

    @property
    def shares(self) -> bool:
        """Whether two runs at once share the threads."""
        return self._narrow is not None

    def vectors(self, tensors: NDArray[np.float32], *, alone: bool) -> Vectors:
        wide = self._wide
        session = wide.session if alone or self._narrow is None else self._narrow
        feed = {wide.input.name: _cast(tensors, wide.input)}
        return _vectors(session, wide.output, feed, self.dimensions, self.batch_fixed)


def _opened(graph: Path, files: ModelFiles, threads: int) -> _Opened:
    """A session of `graph`, which is that of `files` or was prepared from it. Raises ModelInvalid."""
    session = open_session(graph, threads=threads)
    name = files.visual.name
    pictures = [node for node in session.get_inputs() if len(node.shape) == 4]
    if len(session.get_inputs()) != 1 or len(pictures) != 1 or pictures[0].type not in _NUMBERS:
        raise ModelInvalid(f"{name} does not take pictures, and pictures only.")
    batch, channels, height, width = pictures[0].shape
    size = files.preprocessing.size
    sides = zip((channels, height, width), (3, *size), strict=True)
    if any(isinstance(has, int) and has != want for has, want in sides):
        raise ModelInvalid(f"{name} takes pictures of another size than its preprocessing makes.")
    probe = np.linspace(-1, 1, _PROBE_BATCH * 3 * size[0] * size[1], dtype=np.float32)
    feed = {pictures[0].name: _cast(probe.reshape(-1, 3, *size), pictures[0])}
    output, proof, batch_fixed = _probe(session, name, feed, batch)
    return _Opened(session, pictures[0], output, batch_fixed, proof)


class _TextTower:
    """The graph that takes token ids, and the tokenizer that makes them."""

    def __init__(self, files: TextFiles, threads: int) -> None:
        self._session = open_session(files.model, threads=threads)
        name = f"{files.model.parent.name}/{files.model.name}"
        inputs = {node.name: node for node in self._session.get_inputs()}
        self._mask = inputs.pop(_MASK, None)
        if len(inputs) != 1:
            raise ModelInvalid(f"{name} does not take token ids, and token ids only.")
        self._ids = next(iter(inputs.values()))
        if len(self._ids.shape) != 2 or self._ids.type not in ("tensor(int64)", "tensor(int32)"):
            raise ModelInvalid(f"{name} does not take token ids.")
        batch, length = self._ids.shape
        self._tokenizer = TextTokenizer(files, fixed_length=length if isinstance(length, int) else None)
        feed = self._feed(["a photo", "a red shoe on a table"][:_PROBE_BATCH])
        self._output, proof, self._batch_fixed = _probe(self._session, name, feed, batch)
        self.dimensions = proof.shape[1]

    def vectors(self, texts: Sequence[str]) -> Vectors:
        return _vectors(self._session, self._output, self._feed(texts), self.dimensions, self._batch_fixed)

    def _feed(self, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
        ids, mask = self._tokenizer.encode(texts)
        feed = {self._ids.name: _cast(ids, self._ids)}
        if self._mask is not None:
            feed[self._mask.name] = _cast(mask, self._mask)
        return feed


def _probe(
    session: ort.InferenceSession, name: str, feed: dict[str, NDArray[Any]], batch: int | str | None
) -> tuple[str, Vectors, bool]:
    """The output to read, the first row's vector and whether the graph takes one row at a time, by a real inference."""
    if isinstance(batch, int) and batch != 1:
        raise ModelInvalid(f"{name} takes {batch} inputs at a time; only 1 or any number is supported.")
    single = {key: value[:1] for key, value in feed.items()}
    output = _output(session, name, single)
    first = run(session, output, single)
    if first.ndim != 2 or first.shape[0] != 1:
        raise ModelInvalid(f"{name} does not return one vector for one input.")
    return output, unit_rows(first), batch == 1 or not _takes_many(session, output, feed, first)


def _output(session: ort.InferenceSession, name: str, feed: dict[str, NDArray[Any]]) -> str:
    names: list[str] = [node.name for node in session.get_outputs()]
    known = next((wanted for wanted in _OUTPUT_NAMES if wanted in names), None)
    if known is not None:
        return known
    flat = [output for output in names if run(session, output, feed).ndim == 2]
    if len(flat) != 1:
        raise ModelInvalid(f"{name} has no output that is recognisable as the vector.")
    return flat[0]


def _takes_many(session: ort.InferenceSession, output: str, feed: dict[str, NDArray[Any]], first: NDArray[Any]) -> bool:
    """Whether several rows give what each gives alone: some graphs promise it, but were exported for one."""
    try:
        both = run(session, output, feed)
    except ModelInvalid:
        return False
    if both.shape != (_PROBE_BATCH, first.shape[1]):
        return False
    return bool(unit_rows(both)[0] @ unit_rows(first)[0] > _SAME)


def _vectors(
    session: ort.InferenceSession, output: str, feed: dict[str, NDArray[Any]], dimensions: int, batch_fixed: bool
) -> Vectors:
    count = len(next(iter(feed.values())))
    if count == 0:
        return np.empty((0, dimensions), dtype=np.float32)
    if not batch_fixed:
        return unit_rows(run(session, output, feed))
    rows = [run(session, output, {name: value[i : i + 1] for name, value in feed.items()}) for i in range(count)]
    return unit_rows(np.concatenate(rows))


def _cast(values: NDArray[Any], node: Any) -> NDArray[Any]:
    return values.astype(_NUMBERS[node.type], copy=False)


def _digest(files: ModelFiles) -> str:
    parts: list[tuple[str, Path | str]] = [("visual", path) for path in model_files(files.visual)]
    parts.append(("preprocessing", files.preprocessing.key))
    if files.textual is not None:
        parts += [("textual", path) for path in model_files(files.textual.model)]
        parts.append(("tokenizer", files.textual.tokenizer))
    return digest(parts)
