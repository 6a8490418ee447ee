"""The CLIP service over HTTP: throughput and latency, against ONNX Runtime alone and against a plain service."""

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from bench import load, random_clip
from bench.bench import Bench
from bench.clip_process import PLAIN_PYTHON, ClipProcess, clip, plain
from bench.embedding import CLIP, Bare, best_way, tensor
from bench.load import Target
from bench.material import FINE_GRAIN, GRAIN, large
from bench.table import Row, at_least, at_most, skipped
from bench.turns import in_turns, seconds
from seesame.models.folder import find_model
from seesame.models.session import default_threads

ROUNDS = 5
PHOTOS = 96  # a round of a contender: some seconds of work, and full batches only
PLAIN_PHOTOS = 48  # it takes longer
SWEEP_PHOTOS, SWEEP_ROUNDS = 32, 4  # a wrong choice would flatter the service
CLIENTS = (4, 16)
ONE_ROUNDS = 6
ONE_PHOTOS = 8
PATIENT = {"queue_s": "60"}  # how fast it is, is measured here; whom it refuses, `overload` shows
OF_ALONE, OF_PLAIN, INT8 = 0.92, 2.0, 1.35
ONE, LARGE, LARGE_OF_PLAIN = 1.15, 1.6, 3.5


class Alone:
    """The same work in this process, without a service: all cores decode all photos, then ONNX Runtime computes."""

    def __init__(self, folder: Path, bare: Bare, batch: int) -> None:
        self._bare, self._batch = bare, batch
        self._tensor = partial(tensor, find_model(folder).preprocessing)
        self._pool = ThreadPoolExecutor(default_threads())

    def __str__(self) -> str:
        return f"{self._bare.parallel} × {self._bare.threads} threads, batch {self._batch}"

    def run(self, photos: Sequence[bytes]) -> None:
        """Computes all vectors."""
        self._bare.run(np.stack(list(self._pool.map(self._tensor, photos))), self._batch)

    def one(self, photo: bytes) -> None:
        """Computes one vector, in one call."""
        self._bare.run(self._tensor(photo)[np.newaxis], 1)


def rows(bench: Bench) -> Iterator[Row]:
    """Throughput of several clients, then the latency of one."""
    folder = bench.scratch("clip")
    bench.say("Writing a CLIP ViT-B/32 with random weights")
    random_clip.write(folder, with_int8=True)
    photos = bench.material.encoded(PHOTOS)
    python = os.environ.get(PLAIN_PYTHON)
    with ExitStack() as stack:
        bench.say("Starting the services")
        fp32 = stack.enter_context(clip(bench.scratch("fp32"), folder, photos[0], **PATIENT))
        int8 = stack.enter_context(clip(bench.scratch("int8"), folder, photos[0], precision="int8", **PATIENT))
        slow = stack.enter_context(plain(bench.scratch("plain"), python, photos[0])) if python else None
        if slow is None:
            yield skipped("CLIP service against FastAPI and transformers", f"{PLAIN_PYTHON} names no interpreter")
        yield from _throughput(bench, folder, photos, fp32, int8, slow)
        yield from _one_client(bench, folder, photos[:ONE_PHOTOS], fp32, slow)


def _throughput(
    bench: Bench, folder: Path, photos: list[bytes], fp32: ClipProcess, int8: ClipProcess, slow: ClipProcess | None
) -> Iterator[Row]:
    session, parts = Bare(CLIP, folder, parallel=1), Bare(CLIP, folder, parallel=default_threads())
    bench.say("Looking for the best batch size of ONNX Runtime alone")
    preprocessing = find_model(folder).preprocessing
    tensors = np.stack([tensor(preprocessing, photo) for photo in photos[:SWEEP_PHOTOS]])
    alone = Alone(folder, *best_way((session,), tensors, SWEEP_ROUNDS))
    other = Alone(folder, *best_way((parts,), tensors, SWEEP_ROUNDS))
    files = written(bench, photos)
    contenders: dict[str, Callable[[], tuple[float, int]]] = {
        "alone": lambda: (len(photos) / seconds(partial(alone.run, photos)), 0),
        "other": lambda: (len(photos) / seconds(partial(other.run, photos)), 0),
    }
    for clients in CLIENTS:
        contenders[f"fp32 {clients}"] = partial(_rate, fp32.target, files, clients, PHOTOS)
        contenders[f"int8 {clients}"] = partial(_rate, int8.target, files, clients, PHOTOS)
        if slow is not None:
            contenders[f"plain {clients}"] = partial(_rate, slow.target, files, clients, PLAIN_PHOTOS)
    bench.say(f"{ROUNDS} rounds of {len(contenders)} contenders, and one to warm up")
    results = in_turns(contenders, ROUNDS)
    rates = {name: statistics.median(rate for rate, _ in found) for name, found in results.items()}
    for clients in CLIENTS:
        name = f"CLIP service, photos of 400×533, {clients} clients"
        ours, quick = rates[f"fp32 {clients}"], rates[f"int8 {clients}"]
        what = f"{name}, fp32, against decoding and ONNX Runtime alone at its best batch size ({alone})"
        yield _share(what, ours, rates["alone"], OF_ALONE)
        if slow is not None:
            what = f"{name}, fp32, against FastAPI and transformers"
            yield _times(what, ours, rates[f"plain {clients}"], OF_PLAIN)
        yield _times(f"{name}, int8, against fp32", quick, ours, INT8)
    refused = ", ".join(f"{name} clients: {sum(n for _, n in results[name])}" for name in results if " " in name)
    yield Row("CLIP service: requests that were refused in these rounds (0: all figures are of full work)", refused)
    best = max(rates["alone"], rates["other"])
    how = alone if best == rates["alone"] else other
    ours = max(rates[f"fp32 {clients}"] for clients in CLIENTS)
    yield Row(
        f"CLIP service, fp32, against decoding and ONNX Runtime alone in its best arrangement ({how})",
        f"{ours:.1f} of {best:.1f} images/s = {ours / best:.0%}; {other}: {rates['other']:.1f} images/s",
    )


def _one_client(
    bench: Bench, folder: Path, photos: list[bytes], fp32: ClipProcess, slow: ClipProcess | None
) -> Iterator[Row]:
    alone = Alone(folder, Bare(CLIP, folder, parallel=1), 1)
    larges = {f"12 megapixels ({len(photo) / 1e6:.1f} MB)": photo for photo in (
        large(photos[0], FINE_GRAIN), large(photos[0], GRAIN))}  # fmt: skip
    small_files = written(bench, photos)
    contenders: dict[str, Callable[[], list[float]]] = {
        "alone": lambda: [seconds(partial(alone.one, photo)) for photo in photos],
        "small": partial(_latencies, fp32.target, small_files, len(photos)),
    }
    if slow is not None:
        contenders["plain small"] = partial(_latencies, slow.target, small_files, len(photos))
    for size, photo in larges.items():
        files = written(bench, [photo])
        contenders[size] = partial(_latencies, fp32.target, files, len(photos))
        if slow is not None:
            contenders[f"plain {size}"] = partial(_latencies, slow.target, files, len(photos))
    bench.say(f"One client: {ONE_ROUNDS} rounds of {len(photos)} photos")
    ms = {
        name: statistics.median(value * 1000 for values in found for value in values)
        for name, found in in_turns(contenders, ONE_ROUNDS).items()
    }
    name = "CLIP service, one client, fp32"
    yield _longer(
        f"{name}: median for a photo of 400×533, against decoding and one call of ONNX Runtime",
        ms["small"], ms["alone"], ONE,
    )  # fmt: skip
    for size in larges:
        yield _longer(f"{name}: median for a photo of {size}, against one of 400×533", ms[size], ms["small"], LARGE)
        if slow is not None:
            gain = ms[f"plain {size}"] / ms[size]
            measured = f"{ms[size]:.0f} instead of {ms[f'plain {size}']:.0f} ms = {gain:.1f} times as fast"
            what = f"{name}: median for a photo of {size}, against FastAPI and transformers"
            yield at_least(what, gain, LARGE_OF_PLAIN, measured, f"{LARGE_OF_PLAIN:g} times")
    if slow is not None:
        yield Row("FastAPI and transformers, one client: median for a photo of 400×533", f"{ms['plain small']:.0f} ms")


def written(bench: Bench, photos: Sequence[bytes]) -> Path:
    """A folder with the photos, in their order."""
    folder = bench.scratch("photos")
    for number, photo in enumerate(photos):
        (folder / f"{number:04}.jpg").write_bytes(photo)
    return folder


def _rate(target: Target, files: Path, clients: int, requests: int) -> tuple[float, int]:
    """Vectors a second, and how many requests were refused."""
    done = load.closed(target, files, clients=clients, requests=requests)
    return done.rate, len(done.refused)


def _latencies(target: Target, files: Path, requests: int) -> list[float]:
    return [reply.took_s for reply in load.closed(target, files, clients=1, requests=requests).accepted]


def _share(what: str, ours: float, theirs: float, least: float) -> Row:
    measured = f"{ours:.1f} of {theirs:.1f} images/s = {ours / theirs:.0%}"
    return at_least(what, ours / theirs, least, measured, f"{least:.0%}")


def _times(what: str, ours: float, theirs: float, least: float) -> Row:
    measured = f"{ours:.1f} and {theirs:.1f} images/s = {ours / theirs:.2f} times"
    return at_least(what, ours / theirs, least, measured, f"{least:g} times")


def _longer(what: str, ours_ms: float, theirs_ms: float, most: float) -> Row:
    measured = f"{ours_ms:.0f} and {theirs_ms:.0f} ms = {ours_ms / theirs_ms:.2f} times"
    return at_most(what, ours_ms / theirs_ms, most, measured, f"{most:g} times")
