"""How much memory the CLIP service has, with both towers, after many requests. Takes about ten minutes."""

from collections.abc import Iterator

import httpx2

from bench import load, random_clip
from bench.bench import Bench
from bench.clip_process import ClipProcess, clip
from bench.service import PATIENT, written
from bench.table import Row, at_most

CLIENTS = 16
REQUESTS = 5_000  # each half
PHOTOS = 500
TEXTS = 32
MOST_MB, GROWTH_MB = 350, 50


def rows(bench: Bench) -> Iterator[Row]:
    """After each half of the requests."""
    folder = bench.scratch("clip")
    random_clip.write(folder, with_text=True)
    weights = sum(file.stat().st_size for file in (folder / "onnx").iterdir()) / 2**20
    photos = bench.material.encoded(PHOTOS)
    files = written(bench, photos)
    with clip(bench.scratch("memory"), folder, photos[0], **PATIENT) as service:
        halves, refused = [], 0
        for half in ("first", "second"):
            bench.say(f"The {half} {REQUESTS:,} requests of {CLIENTS} clients")
            _ask_texts(service)
            refused += len(load.closed(service.target, files, clients=CLIENTS, requests=REQUESTS).refused)
            halves.append(service.memory_bytes / 2**20)
        resident = service.resident_bytes / 2**20
    first, second = halves
    name = f"CLIP service, fp32, both towers, {CLIENTS} clients"
    yield at_most(
        f"{name}: memory (PSS) after {2 * REQUESTS:,} requests, above the weights on disk",
        second - weights,
        MOST_MB,
        f"{second:.0f} MB = {weights:.0f} + {second - weights:.0f} MB ({refused} requests refused)",
        f"{MOST_MB} MB",
    )
    yield Row(
        f"{name}: resident memory (RSS), in which weights that two sessions map count twice", f"{resident:.0f} MB"
    )
    growth = second - first
    what = f"{name}: its growth over the second {REQUESTS:,}"
    yield at_most(what, growth, GROWTH_MB, f"{growth:+.0f} MB", f"{GROWTH_MB} MB")


def _ask_texts(service: ClipProcess) -> None:
    """A full batch of long texts, so that the text tower has all the memory that it ever takes."""
    texts = [f"a photo of product {number} " * 8 for number in range(TEXTS)]
    with httpx2.Client(timeout=60, trust_env=False) as client:
        client.post(f"{service.url}/extract-text-features", json={"texts": texts}).raise_for_status()
