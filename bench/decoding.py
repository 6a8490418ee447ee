"""What it costs to decode in child processes: the same pictures in this process and through the pool, in turns."""

import io
import statistics
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from PIL import Image

from bench.bench import Bench
from bench.material import FINE_GRAIN, large
from bench.table import Row, at_most
from bench.turns import in_turns, seconds
from seesame import images
from seesame.decoding.pool import DecoderPool
from seesame.images import Decoder

PHOTOS = 32
ROUNDS = 9
STORED = (1_200, 1_600)  # pixels, of a photo that is about as large as pictures are stored
MODEL_SIDE = 224
ADDED_MS = 3.0


def rows(bench: Bench) -> Iterator[Row]:
    """The median time of a picture, one at a time."""
    small = bench.material.encoded(PHOTOS)
    middle = [_enlarged(photo) for photo in small]
    kilobytes = statistics.mean(map(len, middle)) / 1000
    huge = large(small[0], FINE_GRAIN)
    cases: dict[str, tuple[list[bytes], int | None, int | None]] = {
        "a photo of 400×533, for a model": (small, MODEL_SIDE, None),
        f"a photo of 1,200×1,600 ({kilobytes:.0f} KB), for a model": (middle, MODEL_SIDE, None),
        f"a photo of 1,200×1,600 ({kilobytes:.0f} KB), all its pixels": (middle, None, None),
        f"a photo of 12 megapixels ({len(huge) / 1e6:.1f} MB), to be stored": ([huge] * 4, None, max(STORED)),
    }
    with closing(DecoderPool(processes=1).start()) as pool:
        for name, (photos, *sides) in cases.items():
            bench.say(f"Decoding {name}")
            yield _row(name, photos, *sides, pool=pool)


def _row(name: str, photos: list[bytes], shortest_side: int | None, max_side: int | None, *, pool: DecoderPool) -> Row:
    def median_ms(decoder: Decoder) -> float:
        decode = partial(decoder.decode, shortest_side=shortest_side, max_side=max_side)
        return statistics.median(1000 * seconds(partial(decode, photo)) for photo in photos)

    found = in_turns({"here": partial(median_ms, images), "pool": partial(median_ms, pool)}, ROUNDS)
    here, there = (statistics.median(found[way]) for way in ("here", "pool"))
    measured = f"{here:.1f} and {there:.1f} ms = {there / here:.2f} times: {there - here:+.1f} ms"
    what = f"decoding {name}: in this process, and in a child"
    if max_side is not None:  # a part of it is the child's giving memory back
        return Row(what, measured)
    return at_most(what, there - here, ADDED_MS, measured, f"{ADDED_MS:g} ms more")


def _enlarged(photo: bytes) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(photo)) as image:
        image.convert("RGB").resize(STORED, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()
