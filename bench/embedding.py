"""Pictures a second, in this process: the embedder, from encoded photos, against ONNX Runtime alone."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import random_clip
from bench.bench import Bench
from bench.table import Row, at_least
from bench.turns import medians
from bench.usage import peak_bytes
from seesame import images
from seesame.embedding.local import LocalEmbedder
from seesame.models.clip import ClipModel
from seesame.models.fallback import FallbackModel, ensure_fallback
from seesame.models.folder import find_model
from seesame.models.image_model import ImageModel
from seesame.models.preprocessing import Preprocessing
from seesame.models.session import default_threads, open_session

ROUNDS = 9
SWEEP_ROUNDS = 2
BATCHES = (1, 4, 8, 16, 32)
LEAST = 0.90

Tensors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Network:
    """A model, the file of its network, and how many pictures a round takes: some seconds of work."""

    name: str
    load: Callable[[Path], ImageModel]
    file: Callable[[Path], Path]
    output: str
    pictures: int


CLIP = Network(
    "CLIP ViT-B/32",
    lambda folder: ClipModel.load(folder, name="random", cache_dir=folder / "cache"),
    lambda folder: find_model(folder, "fp32").visual,
    "image_embeds",
    pictures=64,
)
FALLBACK = Network("fallback", FallbackModel.load, ensure_fallback, "features", pictures=256)


class Bare:
    """ONNX Runtime alone on ready tensors: `parallel` runs at once, each of `batch` pictures on `threads` threads."""

    def __init__(self, network: Network, folder: Path, *, parallel: int) -> None:
        self.threads = default_threads() // parallel or 1
        self.parallel = parallel
        self._output = network.output
        self._session = open_session(network.file(folder), threads=self.threads)
        self._input = self._session.get_inputs()[0].name
        self._pool = ThreadPoolExecutor(parallel)

    def run(self, tensors: Tensors, batch: int) -> None:
        """Computes all tensors."""
        parts = [tensors[start : start + batch] for start in range(0, len(tensors), batch)]
        list(self._pool.map(self._run, parts))

    def _run(self, tensors: Tensors) -> Any:
        return self._session.run([self._output], {self._input: tensors})


def rows(bench: Bench) -> Iterator[Row]:
    """The figures of both networks."""
    folder = bench.scratch("clip")
    random_clip.write(folder)
    yield from _network(bench, CLIP, folder)
    yield from _network(bench, FALLBACK, bench.cache_dir)


def _network(bench: Bench, network: Network, folder: Path) -> Iterator[Row]:
    bench.say(f"{network.name}: embedding {network.pictures} pictures a round")
    photos = bench.material.encoded(network.pictures)
    model = network.load(folder)
    preprocessing = model.preprocessing
    tensors = np.stack([tensor(preprocessing, photo) for photo in photos])
    batch = model.pictures_per_run
    same = Bare(network, folder, parallel=model.parallel_runs)
    other = Bare(network, folder, parallel=1 if model.parallel_runs > 1 else default_threads())
    embedder = LocalEmbedder(model)
    best, best_batch = best_way((same, other), tensors)
    contenders: dict[str, Callable[[], object]] = {
        "bare": lambda: same.run(tensors, batch),
        "embedder": lambda: embedder.embed_images(photos),
        "best": lambda: best.run(tensors, best_batch),
        "photo": lambda: [tensor(preprocessing, photo) for photo in photos],
    }
    rate = {name: len(photos) / seconds for name, seconds in medians(contenders, ROUNDS).items()}
    embedder.close()
    yield at_least(
        f"{network.name}: embed photos of 400×533, against ONNX Runtime alone at the same batch size ({batch})",
        rate["embedder"] / rate["bare"],
        LEAST,
        f"{rate['embedder']:.1f} of {rate['bare']:.1f} images/s = {rate['embedder'] / rate['bare']:.0%}",
        f"{LEAST:.0%}",
    )
    how = f"batch {best_batch}, {best.parallel} × {best.threads} threads"
    yield Row(
        f"{network.name}: against ONNX Runtime at its best ({how})",
        f"{rate['embedder']:.1f} of {rate['best']:.1f} images/s = {rate['embedder'] / rate['best']:.0%}",
    )
    # A photo costs the cores the time to compute it and the time to decode it; no order of work gets below the sum.
    most = 1 / (1 / rate["bare"] + 1 / (rate["photo"] * default_threads()))
    yield Row(
        f"{network.name}: against the most that leaves time to decode ({1000 / rate['photo']:.1f} ms a photo and core)",
        f"{rate['embedder']:.1f} of {most:.1f} images/s = {rate['embedder'] / most:.0%}",
    )
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
        peak = child.submit(_peak_bytes, network.name, folder, photos[:64]).result()
    yield Row(f"{network.name}: peak memory of a process that embeds 64 photos", f"{peak / 2**20:.0f} MB")


def tensor(preprocessing: Preprocessing, photo: bytes) -> Tensors:
    """A photo as the model takes it, by the code that the product uses."""
    return preprocessing.apply(images.decode(photo, shortest_side=preprocessing.shortest_side))


def best_way(bares: tuple[Bare, ...], tensors: Tensors, rounds: int = SWEEP_ROUNDS) -> tuple[Bare, int]:
    """Which way of running, and which batch size, is fastest."""
    ways = {(bare, batch): _running(bare, tensors, batch) for bare in bares for batch in BATCHES}
    seconds = medians(ways, rounds)
    return min(seconds, key=seconds.__getitem__)


def _running(bare: Bare, tensors: Tensors, batch: int) -> Callable[[], object]:
    return lambda: bare.run(tensors, batch)


def _peak_bytes(name: str, folder: Path, photos: list[bytes]) -> int:
    """The most memory that this process, made for it, ever had."""
    network = next(network for network in (CLIP, FALLBACK) if network.name == name)
    embedder = LocalEmbedder(network.load(folder))
    embedder.embed_images(photos)
    embedder.close()
    return peak_bytes()
