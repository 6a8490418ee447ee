"""Duplicates: how well copies of photos are found, by the product's own path, and what it costs among many."""

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageEnhance

from bench import synthetic
from bench.bench import Bench
from bench.material import Picture
from bench.shop import Shop
from bench.table import Row, at_least, at_most, skipped
from bench.turns import seconds
from bench.usage import cpu_s, peak_bytes
from bench.vectors import add_products, fill, real_vectors
from seesame.application import Application, open_application
from seesame.catalogue import Source
from seesame.db import duplicates as rows_of
from seesame.db.embedded import EmbeddedPostgres
from seesame.db.migrate import migrate
from seesame.db.pool import Database, scalar
from seesame.db.spaces import register
from seesame.duplicates import Duplicates, Step
from seesame.fingerprints import fingerprint
from seesame.likeness import Likeness
from seesame.pictures import PictureStore
from seesame.types import Product, SpaceIdentity, Vectors

PRECISION, RECALL = 0.98, 0.95
COUNTS = 10_000, 100_000
DIMENSIONS = 1280  # of the fallback, whose vectors are compared
SHARED = 100  # one product in so many has a picture that many have, as "no photo" is
REQUESTS = 20
REQUEST_MS = 1_000
_BATCH = 200
_LANES = 2
# Photos of one article in one place, taken seconds apart: found by looking at all pairs that are alike. To find one
# beside the other is no error.
TWICE = (
    ("2edb1db6-cd17-41d2-88e0-ba34801b656d", "74f16421-14fd-43de-9883-cbc02819336e"),
    ("26d61cdc-a947-45f1-a16c-bf3eb23a67ed", "7eeb4c2f-b0b6-4208-a5ee-aed11bce6214"),
    ("26d61cdc-a947-45f1-a16c-bf3eb23a67ed", "d5f4fb0d-b9c3-4358-8e33-fc0ac615c9d7"),
    ("7eeb4c2f-b0b6-4208-a5ee-aed11bce6214", "d5f4fb0d-b9c3-4358-8e33-fc0ac615c9d7"),
    ("31bfad90-ce1e-4185-b92b-c527804af85f", "f86d0bfd-6a44-4dce-a1ee-235a5d0a49a8"),
    ("28fc3fad-5363-4c70-9c5d-ee739d2e21a8", "6f204610-7dce-4323-b1a2-f289a961f1de"),
    ("02341619-2fa3-42d4-bb5e-689518228e67", "78b7da73-ca6c-4e99-b88d-a9f358e7f0f2"),
    ("863d71c4-ce11-4223-acef-8333700878fb", "9dc5e144-c3d2-4fde-8dac-a5f8c3b37c59"),
)
_TWICE = {frozenset(f"{name}.jpg" for name in pair) for pair in TWICE}
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def rows(bench: Bench) -> Iterator[Row]:
    """Quality, then cost."""
    if bench.real_photos:
        shop = Shop(bench.scratch("copies"), bench.cache_dir)
        with open_application(shop.settings) as application:
            yield from _quality(bench, application, bench.real_photos)
    else:
        yield skipped("duplicates: precision and recall of copies", "needs photos (PHOTOS=folder)")
    yield from _cost(bench)


def _cropped(image: Image.Image, rng: np.random.Generator, least: float, most: float) -> Image.Image:
    """Without a strip of each side, each of another width."""
    left, top, right, bottom = rng.uniform(least, most, 4)
    width, height = image.size
    return image.crop(
        (round(width * left), round(height * top), round(width * (1 - right)), round(height * (1 - bottom)))
    )


def _scaled(image: Image.Image, share: float) -> Image.Image:
    return image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)


def _brightened(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


COPIES: dict[str, tuple[Change, int]] = {  # with the quality of the JPEG
    "resized to 70 %": (lambda image, _: _scaled(image, 0.7), 90),
    "resized to 40 %": (lambda image, _: _scaled(image, 0.4), 90),
    "recompressed at quality 30": (lambda image, _: image, 30),
    "brightened by 5 to 20 %": (lambda image, rng: _brightened(image, rng.uniform(1.05, 1.2)), 90),
    "cropped by 2 % a side": (lambda image, rng: _cropped(image, rng, 0.02, 0.02), 90),
    "cropped by 2 to 5 % a side": (lambda image, rng: _cropped(image, rng, 0.02, 0.05), 90),
    "cropped by 5 % a side": (lambda image, rng: _cropped(image, rng, 0.05, 0.05), 90),
    "all: cropped by up to 4 %, brightened by 10 %, resized to 60 %, quality 60": (
        lambda image, rng: _brightened(_scaled(_cropped(image, rng, 0.0, 0.04), 0.6), 1.1),
        60,
    ),
}


def _quality(bench: Bench, application: Application, photos: tuple[Picture, ...]) -> Iterator[Row]:
    bench.say(f"Importing {len(photos)} photos with {len(COPIES)} copies each")
    for start in range(0, len(photos), _BATCH):
        for number, photo in enumerate(photos[start : start + _BATCH], start):
            _publish(application, number, photo)
    bench.say("Indexing them")
    application.indexer.run_once(finish=True)
    bench.say("Comparing them")
    took_s = seconds(lambda: application.duplicates.update(lanes=_LANES))
    pairs = _near_pairs(application)
    copies = {
        name: sum((photo.path.name, "") in pairs.get((photo.path.name, name), ()) for photo in photos)
        for name in COPIES
    }
    total = len(photos) * len(COPIES)
    true = Counter(_verdict(a[0], b[0]) for a, others in pairs.items() for b in others)
    with_errors, errors = true["twice"] + true["other"], true["other"]
    strict = true["same"] / (true["same"] + with_errors)
    precision = true["same"] / (true["same"] + errors)
    recall = sum(copies.values()) / total
    name = f"duplicates: near pairs among {len(photos)} photos and {total:,} copies"
    told = f"{precision:.4f} ({errors // 2} wrong of {sum(true.values()) // 2:,} pairs; {strict:.4f} if the"
    told += f" {true['twice'] // 2} pairs of one article photographed twice were wrong)"
    yield at_least(f"{name}: precision", precision, PRECISION, told, f"{PRECISION}")
    yield at_least(f"{name}: recall of copy and original", recall, RECALL, f"{recall:.4f}", f"{RECALL}")
    for copy, found in copies.items():
        yield Row(f"duplicates: recall, {copy}", f"{found / len(photos):.4f}")
    yield Row(f"{name}: time", f"{took_s:.0f} s ({(total + len(photos)) / took_s:.0f} a second)")
    yield _fingerprints(application, photos)
    yield _backfill(application)


def _publish(application: Application, number: int, photo: Picture) -> None:
    """A product for the photo and for each of its copies."""
    rng = np.random.default_rng(number)
    with Image.open(photo.path) as opened:
        image = opened.convert("RGB")
    made = {"": photo.path.read_bytes()}
    made |= {name: _jpeg(change(image, rng), quality) for name, (change, quality) in COPIES.items()}
    ids = [f"{photo.path.name}/{name}" for name in made]
    images = [application.catalogue.store(i, 0, Source(i, data)) for i, data in zip(ids, made.values(), strict=True)]
    application.catalogue.publish(images, products=[Product(product_id) for product_id in ids])


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _near_pairs(application: Application) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Each pair both ways, a picture as its photo's name and what was done with it."""
    pairs: dict[tuple[str, str], set[tuple[str, str]]] = {}
    with application.database.transaction() as connection:
        found = connection.execute("SELECT image_id, product_id FROM seesame.product_images").fetchall()
        names = {image_id: (product_id.split("/")[0], product_id.split("/")[1]) for image_id, product_id in found}
        for image in rows_of.alike(connection):
            for other, similarity, distance in zip(image.alike, image.similarities, image.distances, strict=True):
                if Likeness(similarity, distance).kind == "near":
                    one, two = names[image.image_id], names[other]
                    pairs.setdefault(one, set()).add(two)
                    pairs.setdefault(two, set()).add(one)
    return pairs


def _verdict(one: str, other: str) -> str:
    if one == other:
        return "same"
    return "twice" if frozenset((one, other)) in _TWICE else "other"


def _fingerprints(application: Application, photos: tuple[Picture, ...]) -> Row:
    """What a fingerprint costs beside the rest of storing a picture."""
    data = [photo.path.read_bytes() for photo in photos[:100]]
    pictures = [Image.open(io.BytesIO(one)).convert("RGB") for one in data]
    alone_s = _cpu_s(lambda: [fingerprint(picture) for picture in pictures])
    store_s = _cpu_s(lambda: [application.catalogue.store("x", 0, Source("x", one)) for one in data])
    measured = f"{alone_s * 10:.2f} of {store_s * 10:.1f} ms of CPU a photo = {alone_s / store_s:.0%}"
    return Row("duplicates: a fingerprint, as a part of storing a picture", measured)


def _cpu_s(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def _backfill(application: Application) -> Row:
    """The fingerprints of stored pictures, as after the update that brought them."""
    with application.database.session() as connection:
        connection.execute("DELETE FROM seesame.fingerprints")
    stop, read = threading.Event(), [(time.perf_counter(), 0)]

    def progressed(step: Step, done: int, _: int) -> None:
        if step == "pictures":
            read.append((time.perf_counter(), done))
        else:
            stop.set()

    application.duplicates.update(lanes=_LANES, stop=stop, on_progress=progressed)
    took_s, done = read[-1][0] - read[0][0], read[-1][1]
    return Row(
        f"duplicates: fingerprints of {done:,} stored pictures", f"{took_s:.0f} s ({done / took_s:.0f} a second)"
    )


def _cost(bench: Bench) -> Iterator[Row]:
    """Vectors mixed of real ones are compared; then groups are made of more pairs than a shop would have."""
    mixed = synthetic.mixtures(real_vectors(bench), max(COUNTS), seed=2)
    mixed[::SHARED] = mixed[0]
    for count in COUNTS:
        yield from _among(bench, mixed[:count])


def _among(bench: Bench, vectors: Vectors) -> Iterator[Row]:
    folder = bench.scratch("duplicates")
    with EmbeddedPostgres.start(folder) as server, closing(Database(server.dsn)) as database:
        database.open()
        migrate(database)
        add_products(database, len(vectors))
        with database.transaction() as connection:
            space = register(connection, SpaceIdentity("synthetic", "0" * 64, DIMENSIONS), "fallback")
        _add_fingerprints(database)
        bench.say(f"Loading {len(vectors):,} vectors")
        fill(bench, database, space, vectors)
        name = f"duplicates among {len(vectors):,} × {DIMENSIONS}, 1 in {SHARED} the same"
        bench.say("Comparing them")
        yield _updated(f"{name}: compare all", server.dsn, folder)
        bench.say("Making groups")
        _relate(database, len(vectors))
        yield _updated(f"{name}, each near to one and alike to ten: make the groups", server.dsn, folder)
        yield _updated(f"{name}: update with nothing new", server.dsn, folder)
        yield from _requests(name, database)


def _add_fingerprints(database: Database) -> None:
    """Bits at random, and some products that share a picture."""
    with database.session() as connection:
        connection.execute(
            "UPDATE seesame.product_images SET sha256 = '' WHERE product_id::integer %% %s = 0", (SHARED,)
        )
        connection.execute(
            """
            INSERT INTO seesame.fingerprints (product_id, image_id, bits, uniform)
            SELECT product_id, image_id, substr(sha256(('bits' || product_id)::bytea), 1, 16), false
            FROM seesame.product_images
            """
        )
        connection.execute("VACUUM ANALYZE seesame.product_images, seesame.fingerprints")


def _relate(database: Database, count: int) -> None:
    """Every picture is near to one other, and alike to ten more."""
    with database.session() as connection:
        connection.execute(
            """
            UPDATE seesame.fingerprints SET compared_in = 1,
                similarities = '{0.95}' || array_fill(0.91::real, ARRAY[10]),
                distances = '{5}' || array_fill(60::smallint, ARRAY[10]),
                alike = ARRAY(SELECT lpad(to_hex((product_id::integer # 1 + step * 7919) %% %s), 32, '0')::uuid
                              FROM generate_series(0, 10) AS step)
            """,
            (count,),
        )
        connection.execute("UPDATE seesame.duplicate_runs SET stale = true")
        connection.execute("VACUUM ANALYZE seesame.fingerprints")


def _updated(name: str, dsn: str, folder: Path) -> Row:
    """An update in a process of its own."""
    postmaster = int((folder / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
    before_s = cpu_s(postmaster)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
        took_s, own_s, begun, peak, groups = child.submit(_update, dsn).result()
    spent = f"CPU: {cpu_s(postmaster) - before_s:.1f} s in PostgreSQL, {own_s:.1f} s outside"
    memory = f"{peak / 2**20:.0f} MB at most, {(peak - begun) / 2**20:.0f} MB of them for this"
    return Row(name, f"{took_s:.1f} s ({spent}), {groups:,} groups, {memory}")


def _update(dsn: str) -> tuple[float, float, int, int, int]:
    """Seconds, those of this process's CPU, its memory before and at most, groups."""
    begun, own_s = peak_bytes(), time.process_time()
    with closing(Database(dsn)) as database, TemporaryDirectory() as folder:
        database.open()
        duplicates = Duplicates(database, PictureStore(Path(folder)), placeholder_products=10)
        took_s = seconds(lambda: duplicates.update(lanes=_LANES))
        own_s = time.process_time() - own_s
        return took_s, own_s, begun, peak_bytes(), duplicates.groups(limit=1).total


def _requests(name: str, database: Database) -> Iterator[Row]:
    """What the API asks for, and what it lies on."""
    with database.session() as connection:
        sizes = [
            scalar(connection, "SELECT pg_total_relation_size(%(table)s::regclass)", {"table": f"seesame.{table}"})
            for table in ("fingerprints", "duplicates")
        ]
    yield Row(f"{name}: on disk", f"fingerprints {sizes[0] / 2**20:.0f} MB, groups {sizes[1] / 2**20:.0f} MB")
    duplicates = Duplicates(database, PictureStore(Path()), placeholder_products=10)
    for what, ask in (
        ("a page of all groups", lambda: duplicates.groups(limit=20)),
        ("a page of near groups", lambda: duplicates.groups("near", limit=20)),
        ("the groups of a product", lambda: duplicates.groups(product_id="5000", limit=20)),
        ("placeholders", lambda: duplicates.placeholders(limit=20)),
    ):
        median_ms = float(np.median([seconds(ask) for _ in range(REQUESTS)])) * 1000
        yield at_most(f"{name}: {what}, median", median_ms, REQUEST_MS, f"{median_ms:.0f} ms", f"{REQUEST_MS:,} ms")
