"""Import and index of photos, and how good the answers of the fallback are, through the product's own path."""

from collections.abc import Iterator
from pathlib import Path

from bench.bench import Bench
from bench.material import Picture
from bench.shop import Shop
from bench.table import Row, at_least, skipped
from bench.turns import seconds
from seesame.application import Application, open_application
from seesame.queries import Photo, Query
from seesame.records import read_records

IMAGES_PER_S = 40
FIRST, FIRST_TEN, FIRST_OF_OTHERS = 0.72, 0.59, 0.58
_PAGE = 200


def rows(bench: Bench) -> Iterator[Row]:
    """Throughput, then quality."""
    if not bench.real_photos:
        yield skipped("import and index photos; quality of the answers", "needs photos (PHOTOS=folder)")
        return
    yield from _throughput(bench)
    with open_application(bench.filled.settings) as application:
        bench.say(f"Searching by each of {bench.material.name}")
        yield from _quality(application, bench.real_photos)


def _throughput(bench: Bench) -> Iterator[Row]:
    count = len(bench.material.pictures)
    first = Shop(bench.scratch("first"), bench.scratch("cache"))  # also PostgreSQL and the model are made anew
    second = Shop(bench.scratch("second"), bench.cache_dir)
    bench.say(f"Importing {bench.material.name} as a process, then in this one")
    process_s = seconds(lambda: first.run("import", str(bench.material.csv)))
    with open_application(second.settings) as application:
        import_s = seconds(lambda: _import(application, bench.material.csv))
        index_s = seconds(lambda: application.indexer.run_once(finish=True))
    name = f"import and index {bench.material.name}"
    target = f"{IMAGES_PER_S} images/s"
    for what, took_s in (
        ("from the start of `seesame import`, new database", process_s),
        ("start-up left out", import_s + index_s),
    ):
        rate = count / took_s
        yield at_least(f"{name}, {what}", rate, IMAGES_PER_S, f"{rate:.0f} images/s ({took_s:.1f} s)", target)
    yield Row(f"{name}: its parts", f"import {count / import_s:.0f} images/s, index {count / index_s:.0f} images/s")


def _import(application: Application, csv: Path) -> None:
    summary = application.importer.run(read_records(csv))
    if summary.errors:
        raise RuntimeError(f"The import failed: {summary.errors[:3]}")


def _quality(application: Application, photos: tuple[Picture, ...]) -> Iterator[Row]:
    by_id = {photo.path.name: photo for photo in photos}
    first = ten = of_others = 0.0
    for photo in photos:
        found = (by_id[name] for name in _answers(application, photo) if name != photo.path.name)
        nearest = [next(found) for _ in range(10)]
        others = (other for answers in (nearest, found) for other in answers if other.sender != photo.sender)
        first += nearest[0].label == photo.label
        ten += sum(other.label == photo.label for other in nearest) / len(nearest)
        of_others += next(others).label == photo.label
    for what, total, least in (
        ("P@1, of all other photos", first, FIRST),
        ("P@10, of all other photos", ten, FIRST_TEN),
        ("P@1, of photos by other senders", of_others, FIRST_OF_OTHERS),
    ):
        share = total / len(photos)
        yield at_least(f"same kind found by the fallback: {what}", share, least, f"{share:.3f}", f"{least}")


def _answers(application: Application, photo: Picture) -> Iterator[str]:
    """Ids of products, the most alike first; further pages are asked for only when they are wanted."""
    data = photo.path.read_bytes()
    limit, offset = 11, 0
    while True:
        page = application.search.find(Photo(data), Query(limit=limit, offset=offset)).page
        yield from (hit.product.product_id for hit in page.hits)
        if page.exhausted:
            return
        limit, offset = _PAGE, offset + limit
