"""Regions that are proposed: how many things of collages are found, what searching them finds, and other ways to it."""

import csv
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.bench import Bench
from bench.collages import GROUNDS, Box, Collage, bare, collages
from bench.material import Picture
from bench.saliency import Map, other_ways
from bench.table import Row, at_least, at_most, skipped
from seesame import images, regions
from seesame.models.fallback import FallbackModel

COUNT = 12  # collages of each kind
FOUND, FOUND_SINGLE, MOST_MS = 0.9, 0.9, 30
_BOXES = Path(__file__).with_name("photo_boxes.csv")
_CHOSEN = "colours that are rare at the edge (chosen)"


@dataclass(frozen=True, slots=True)
class Found:
    """What one way found in some pictures: for each thing the IoU of the nearest region, and regions that hit none."""

    overlaps: NDArray[np.float64]
    wrong: int
    pictures: int

    @property
    def recall(self) -> float:
        return float((self.overlaps >= 0.5).mean())

    def __str__(self) -> str:
        overlap, wrong = np.median(self.overlaps), self.wrong / self.pictures
        return f"{self.recall:.2f} (IoU {overlap:.2f}, {wrong:.1f} wrong a picture)"


def rows(bench: Bench) -> Iterator[Row]:
    """Recall of each way, then searches."""
    if not bench.real_photos:
        yield skipped("regions that stand out", "needs photos (PHOTOS=folder)")
        return
    bench.say(f"Making {COUNT * len(GROUNDS) * 2} collages")
    made: dict[tuple[str, str], list[Collage]] = {
        (what, ground): list(collages(bench.real_photos, ground, whole=what == "photos", count=COUNT, seed=seed))
        for seed, (what, ground) in enumerate(((w, g) for w in ("cut-outs", "photos") for g in GROUNDS), start=1000)
    }
    singles = list(_singles(bench.real_photos))
    yield from _product(made, singles)
    yield _grounds(bench.real_photos)
    for name, map_of in {_CHOSEN: regions.contrast, **other_ways(bench.cache_dir)}.items():
        bench.say(f"Regions by {name}")
        yield from _way(name, map_of, made, singles)
    bench.say("Searching")
    yield from _searches(bench, [collage for kind in made.values() for collage in kind])


def _product(made: Mapping[tuple[str, str], list[Collage]], singles: Sequence[Collage]) -> Iterator[Row]:
    for (what, ground), some in made.items():
        found = _found(regions.propose, some)
        name = f"regions, {what} on {ground}: things found by at most 5 (IoU ≥ 0.5)"
        if ground == "patchwork":  # no ground that could be told from things by its colour
            yield Row(name, str(found))
        else:
            yield at_least(name, found.recall, FOUND, str(found), f"{FOUND}")
    if singles:
        exact = np.mean([len(regions.propose(single.image)) == 1 for single in singles])
        found = _found(regions.propose, singles)
        name = f"regions, {len(singles)} photos of one thing (boxes by hand): found"
        yield at_least(name, found.recall, FOUND_SINGLE, f"{found}; one region alone {exact:.2f}", f"{FOUND_SINGLE}")


def _grounds(pictures: Sequence[Picture]) -> Row:
    counts = {
        ground: [len(regions.propose(image)) for image in bare(pictures, ground, count=COUNT, seed=2000)]
        for ground in GROUNDS
    }
    text = ", ".join(f"{ground} {sum(some) / len(some):.1f}" for ground, some in counts.items())
    return Row("regions on grounds with nothing on them: regions a picture", text)


def _way(
    name: str, map_of: Map, made: Mapping[tuple[str, str], list[Collage]], singles: Sequence[Collage]
) -> Iterator[Row]:
    def propose(image: Image.Image) -> list[regions.Proposal]:
        return regions.cut(map_of(image))

    pictures = [single.image for single in singles] or [some[0].image for some in made.values()]
    started = time.process_time()
    for picture in pictures:
        propose(picture)
    ms = (time.process_time() - started) / len(pictures) * 1000
    cut_outs, photos = (
        _found(propose, [collage for (what, _), some in made.items() if what == wanted for collage in some])
        for wanted in ("cut-outs", "photos")
    )
    text = f"cut-outs {cut_outs}, photos {photos}" + (f", one thing {_found(propose, singles)}" if singles else "")
    yield Row(f"regions by {name}: found", text)
    cost = f"regions by {name}: a photo of 400×533, decoded, on one core"
    if name == _CHOSEN:
        yield at_most(cost, ms, MOST_MS, f"{ms:.0f} ms", f"{MOST_MS} ms")
    else:
        yield Row(cost, f"{ms:.0f} ms")


def _found(propose: Callable[[Image.Image], list[regions.Proposal]], collages: Sequence[Collage]) -> Found:
    overlaps, wrong = [], 0
    for collage in collages:
        table = _ious(collage.boxes, [_box(proposal) for proposal in propose(collage.image)])
        overlaps += table.max(axis=1, initial=0).tolist()
        wrong += int((table.max(axis=0) < 0.5).sum())
    return Found(np.array(overlaps), wrong, len(collages))


def _singles(pictures: Sequence[Picture]) -> Iterator[Collage]:
    """Photos as they are, whose one thing was framed by hand to about two hundredths."""
    by_name = {picture.path.name: picture for picture in pictures}
    with _BOXES.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["file"] in by_name:
                picture = by_name[row["file"]]
                left, top, right, bottom = (int(row[side]) / 100 for side in ("left", "top", "right", "bottom"))
                yield Collage(images.decode(picture.path.read_bytes()), (picture,), ((left, top, right, bottom),))


# Searches


def _searches(bench: Bench, made: Sequence[Collage]) -> Iterator[Row]:
    model = FallbackModel.load(bench.cache_dir)

    def vector(image: Image.Image) -> NDArray[np.float32]:
        return cast("NDArray[np.float32]", model.images(model.preprocessing.apply(image)[None])[0])

    photos = bench.real_photos
    gallery = np.stack([vector(images.decode(photo.path.read_bytes())) for photo in photos])
    places = {photo: place for place, photo in enumerate(photos)}
    ways = "the whole collage", "the proposed region", "the true region"
    hits = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0)
    total = 0
    for collage in made:
        proposed = [_box(proposal) for proposal in regions.propose(collage.image)] or [(0.0, 0.0, 1.0, 1.0)]
        near = _ious(collage.boxes, proposed).argmax(axis=1)
        whole = vector(collage.image)
        of_proposed = [vector(_cropped(collage.image, box)) for box in proposed]
        for place, (thing, box) in enumerate(zip(collage.things, collage.boxes, strict=True)):
            queries = whole, of_proposed[near[place]], vector(_cropped(collage.image, box))
            for way, query in zip(ways, queries, strict=True):
                similar = gallery @ query
                hits[0][way] += int(similar.argmax()) == places[thing]
                similar[places[thing]] = -2
                hits[1][way] += photos[int(similar.argmax())].label == thing.label
            total += 1
    for what, counts in zip(("the same photo", "another photo of the same kind"), hits, strict=True):
        text = ", ".join(f"by {way} {count / total:.3f}" for way, count in counts.items())
        name = f"regions: {what} comes first, for {total} things of collages (fallback)"
        yield at_least(name, counts[ways[1]], counts[ways[0]], text, "by the whole collage")


def _cropped(image: Image.Image, box: Box) -> Image.Image:
    left, top, right, bottom = box
    return image.crop((int(left * image.width), int(top * image.height),
                       round(right * image.width), round(bottom * image.height)))  # fmt: skip


def _box(proposal: regions.Proposal) -> Box:
    region = proposal.region
    return region.x, region.y, region.x + region.width, region.y + region.height


def _ious(boxes: Sequence[Box], others: Sequence[Box]) -> NDArray[np.float64]:
    """Shape (boxes, others)."""
    one, other = np.reshape(boxes, (-1, 1, 4)), np.reshape(others, (1, -1, 4))
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    common = sides.clip(0).prod(axis=2)
    areas = [(box[..., 2:] - box[..., :2]).prod(axis=2) for box in (one, other)]
    result: NDArray[np.float64] = common / (areas[0] + areas[1] - common)
    return result
