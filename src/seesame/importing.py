"""Brings products and their pictures into the catalogue. Doing it twice changes nothing."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal
from uuid import UUID

from seesame.catalogue import Catalogue, Source, image_id_of
from seesame.db.pool import Connection
from seesame.downloads import Downloads
from seesame.errors import FetchError, ImageError, StorageFull
from seesame.fetch import Fetcher
from seesame.images import ImageLimits, read_file
from seesame.models.session import default_threads
from seesame.records import Record, RecordError, is_url
from seesame.types import Place, ProductImage, Validators

BATCH = 64  # records, and pictures, of a transaction
_FETCHES = 8  # at once
_DELETED = 100  # products of a transaction
_UNREADABLE = "image_unreadable"


@dataclass(slots=True)
class Summary:
    """What an import did, or a batch of it. `failed` are the records with an error, of which one may have several."""

    records: int = 0
    failed: int = 0
    products_created: int = 0
    products_updated: int = 0
    products_unchanged: int = 0
    products_deleted: int = 0
    images_added: int = 0
    images_unchanged: int = 0
    errors: list[RecordError] = field(default_factory=list)

    def add(self, batch: "Summary") -> None:
        """Counts a batch in."""
        self.errors.extend(batch.errors)
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(batch, name))


COUNTED = tuple(each.name for each in fields(Summary) if each.name != "errors")


OnStage = Callable[[Literal["read", "store", "write"], float], None]

OnBatch = Callable[[Connection, Summary], None]
"""Told of a batch inside its transaction: what it writes is committed with it, and if it raises, nothing is."""


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture of a record, read and identified."""

    record: Record
    position: int
    source: Source
    image_id: UUID

    @property
    def pair(self) -> tuple[str, UUID]:
        return self.record.product.product_id, self.image_id

    @property
    def place(self) -> Place:
        return Place(*self.pair, self.position, self.source.name, *(self.source.validators or ()))


class Importer:
    """Imports records in batches. A bad line or picture is told and stops nothing else."""

    def __init__(
        self,
        catalogue: Catalogue,
        fetcher: Fetcher,
        *,
        limits: ImageLimits,
        on_stage: OnStage = lambda stage, seconds: None,  # noqa: ARG005 - nobody measures
    ) -> None:
        """`on_stage` is told the seconds of each stage of a batch."""
        self._on_stage = on_stage
        self._catalogue = catalogue
        self._fetcher = fetcher
        self._limits = limits

    def run(self, records: Iterable[Record | RecordError], on_progress: Callable[[int], None] | None = None) -> Summary:
        """Imports all records.

        Args:
            on_progress: called after each batch with how many records it had.

        Raises:
            DatabaseUnavailable: not reached; what earlier batches wrote stays. A batch is written whole or not at all.
            StorageFull: no room for pictures or rows; likewise.
        """
        summary = Summary()
        for batch in self.batches(records):
            summary.add(batch)
            if on_progress is not None:
                on_progress(batch.records)
        return summary

    def batches(self, records: Iterable[Record | RecordError], on_batch: OnBatch | None = None) -> Iterator[Summary]:
        """Imports all records as `run`; yields what was done by each batch, once it is committed."""
        downloads = Downloads(self._fetcher)
        with ThreadPoolExecutor(max(_FETCHES, default_threads())) as pool:
            for batch in _batches(records):
                yield self._batch(batch, pool, downloads, on_batch)

    def add_image(self, product_id: str, url: str) -> ProductImage:
        """Adds one picture, which lies behind a URL, to a product. Other bytes from there take its place later.

        Raises:
            NotFound: there is no such product.
            FetchError: it cannot be had from there.
            ImageError: it cannot be used.
        """
        self._catalogue.get(product_id)  # before anything is fetched for it
        return self._catalogue.add_image(product_id, self._fetcher.fetch(url), name=url)

    def rehearse(
        self, records: Iterable[Record | RecordError], on_progress: Callable[[int], None] | None = None
    ) -> Summary:
        """What `run` would do to products. Writes nothing, and looks at no picture."""
        summary = Summary()
        for batch in _batches(records):
            products = {item.product.product_id: item.product for item in batch if isinstance(item, Record)}
            errors = [item for item in batch if isinstance(item, RecordError)]
            summary.add(_counted(len(batch), errors, len(products), self._catalogue.changes(list(products.values()))))
            if on_progress is not None:
                on_progress(len(batch))
        return summary

    def delete(self, product_ids: Iterable[str], on_batch: OnBatch | None = None) -> Iterator[int]:
        """Deletes products with their pictures, in batches; yields how many each had once it is committed."""
        ordered = sorted(product_ids)
        for start in range(0, len(ordered), _DELETED):

            def beside(connection: Connection, count: int) -> None:
                if on_batch is not None:
                    on_batch(connection, Summary(products_deleted=count))

            yield self._catalogue.delete_many(ordered[start : start + _DELETED], beside)

    def _batch(
        self,
        batch: Sequence[Record | RecordError],
        pool: ThreadPoolExecutor,
        downloads: Downloads,
        on_batch: OnBatch | None,
    ) -> Summary:
        errors = [item for item in batch if isinstance(item, RecordError)]
        records = [item for item in batch if isinstance(item, Record)]
        started = time.monotonic()
        kept: dict[UUID, Place] = {}
        pictures: dict[UUID, _Picture] = {}
        for loaded in self._loaded(records, pool, downloads):
            match loaded:
                case RecordError():
                    errors.append(loaded)
                case Place():
                    kept.setdefault(loaded.image_id, loaded)
                case _Picture():
                    pictures.setdefault(loaded.image_id, loaded)
        read = time.monotonic()
        known = self._catalogue.known([picture.pair for picture in pictures.values()])
        kept |= {image_id: pictures[image_id].place for image_id in known - kept.keys()}
        images = self._stored([p for image_id, p in pictures.items() if image_id not in kept], pool, errors)
        stored = time.monotonic()
        products = {record.product.product_id: record.product for record in records}
        summary = Summary()

        def beside(connection: Connection, changed: dict[str, bool]) -> None:
            summary.add(_counted(len(batch), errors, len(products), changed))
            summary.images_added, summary.images_unchanged = len(images), len(kept)
            if on_batch is not None:
                on_batch(connection, summary)

        self._catalogue.publish(images, products=list(products.values()), kept=list(kept.values()), beside=beside)
        self._on_stage("read", read - started)
        self._on_stage("store", stored - read)
        self._on_stage("write", time.monotonic() - stored)
        return summary

    def _loaded(
        self, records: Sequence[Record], pool: ThreadPoolExecutor, downloads: Downloads
    ) -> Iterator[_Picture | Place | RecordError]:
        jobs = list(_jobs(records))
        urls = [(record.product.product_id, place) for record, _, place in jobs if is_url(place)]
        validated = self._catalogue.validated(urls) if urls else {}

        def load(job: tuple[Record, int, str]) -> _Picture | Place | RecordError:
            record, position, place = job
            product_id = record.product.product_id
            image_id, validators = validated.get((product_id, place), (None, None))
            try:
                source = self._read(place, validators, downloads)
            except FetchError as error:
                return _error(record, error.code, place, str(error))
            except (OSError, ValueError) as error:
                missing = isinstance(error, FileNotFoundError)
                return _error(record, _UNREADABLE, place, "There is no such file." if missing else "It cannot be read.")
            if source is None:
                assert image_id is not None  # else nothing was known
                assert validators is not None
                return Place(product_id, image_id, position, place, *validators)
            return _Picture(record, position, source, image_id_of(product_id, source.sha256))

        return pool.map(load, jobs)

    def _read(self, place: str, known: Validators | None, downloads: Downloads) -> Source | None:
        """The bytes of a picture; None where its host says that they are those of before."""
        if not is_url(place):
            return Source(place, read_file(Path(place), limits=self._limits))
        fetched = downloads.fetch(place, known)
        return None if fetched is None else Source(place, fetched.data, fetched.validators)

    def _stored(
        self, pictures: Sequence[_Picture], pool: ThreadPoolExecutor, errors: list[RecordError]
    ) -> list[ProductImage]:
        """Writes the files of new pictures; those that cannot be used become errors."""
        stored = list(pool.map(self._store, pictures))
        images = [image for image in stored if isinstance(image, ProductImage)]
        for fault in stored:
            if isinstance(fault, StorageFull):
                self._catalogue.discard(images)
                raise fault
            if isinstance(fault, RecordError):
                errors.append(fault)
        return images

    def _store(self, picture: _Picture) -> ProductImage | RecordError | StorageFull:
        try:
            return self._catalogue.store(picture.record.product.product_id, picture.position, picture.source)
        except ImageError as error:
            return _error(picture.record, error.code, picture.source.name, str(error))
        except StorageFull as error:  # raised when the others of its batch have ended, too
            return error


def _counted(records: int, errors: list[RecordError], products: int, changed: dict[str, bool]) -> Summary:
    created = sum(changed.values())
    return Summary(
        records=records,
        failed=len({(error.file, error.line) for error in errors}),
        products_created=created,
        products_updated=len(changed) - created,
        products_unchanged=products - len(changed),
        errors=errors,
    )


def _batches(records: Iterable[Record | RecordError]) -> Iterator[list[Record | RecordError]]:
    """Records of one transaction: so many, and no more pictures than fit into memory."""
    batch: list[Record | RecordError] = []
    pictures = 0
    for record in records:
        count = len(record.images) if isinstance(record, Record) else 0
        if batch and (len(batch) == BATCH or pictures + count > BATCH):
            yield batch
            batch, pictures = [], 0
        batch.append(record)
        pictures += count
    if batch:
        yield batch


def _jobs(records: Iterable[Record]) -> Iterator[tuple[Record, int, str]]:
    """Each picture with its place among those of its product, which may go over several records."""
    positions: dict[str, int] = {}
    for record in records:
        for place in record.images:
            position = positions.get(record.product.product_id, 0)
            positions[record.product.product_id] = position + 1
            yield record, position, place


def _error(record: Record, code: str, place: str, message: str) -> RecordError:
    name = Path(place).name
    named = message if record.line is None or is_url(place) else f"{name}: {message}"
    return RecordError(record.file, record.line, record.product.product_id, code, named)
