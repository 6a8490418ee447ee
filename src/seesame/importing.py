"""Brings products and their pictures into the catalogue. Doing it twice changes nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from seesame.catalogue import Catalogue, Source, image_id_of
from seesame.errors import FetchError, ImageError, StorageFull
from seesame.fetch import Fetcher
from seesame.images import ImageLimits, read_file
from seesame.models.session import default_threads
from seesame.records import Record, RecordError
from seesame.types import Place, ProductImage

BATCH = 64  # records, and pictures, of a transaction
_UNREADABLE = "image_unreadable"


@dataclass(slots=True)
class Summary:
    """What an import did."""

    products_created: int = 0
    products_updated: int = 0
    products_unchanged: int = 0
    images_added: int = 0
    images_unchanged: int = 0
    errors: list[RecordError] = field(default_factory=list)


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


class Importer:
    """Imports records in batches. A bad line or picture is told and stops nothing else."""

    def __init__(self, catalogue: Catalogue, fetcher: Fetcher, *, limits: ImageLimits) -> None:
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
        with ThreadPoolExecutor(default_threads()) as pool:
            for batch in _batches(records):
                summary.errors.extend(item for item in batch if isinstance(item, RecordError))
                self._batch([item for item in batch if isinstance(item, Record)], pool, summary)
                if on_progress is not None:
                    on_progress(len(batch))
        return summary

    def _batch(self, records: Sequence[Record], pool: ThreadPoolExecutor, summary: Summary) -> None:
        pictures: dict[UUID, _Picture] = {}
        for loaded in pool.map(lambda job: self._load(*job), _jobs(records)):
            if isinstance(loaded, RecordError):
                summary.errors.append(loaded)
            else:
                pictures.setdefault(loaded.image_id, loaded)
        known = self._catalogue.known([picture.pair for picture in pictures.values()])
        stored = list(pool.map(self._store, [p for p in pictures.values() if p.image_id not in known]))
        images = [image for image in stored if isinstance(image, ProductImage)]
        for fault in stored:
            if isinstance(fault, StorageFull):
                self._catalogue.discard(images)
                raise fault
            if isinstance(fault, RecordError):
                summary.errors.append(fault)
        kept = [Place(*p.pair, p.position, p.source.name) for p in pictures.values() if p.image_id in known]
        products = {record.product.product_id: record.product for record in records}
        changed = self._catalogue.publish(images, products=list(products.values()), kept=kept)
        summary.products_created += sum(changed.values())
        summary.products_updated += len(changed) - sum(changed.values())
        summary.products_unchanged += len(products) - len(changed)
        summary.images_added += len(images)
        summary.images_unchanged += len(known)

    def _load(self, record: Record, position: int, place: str) -> _Picture | RecordError:
        try:
            data = self._fetcher.fetch(place) if "://" in place else read_file(Path(place), limits=self._limits)
        except FetchError as error:
            return _error(record, error.code, place, str(error))
        except (OSError, ValueError) as error:
            missing = isinstance(error, FileNotFoundError)
            return _error(record, _UNREADABLE, place, "There is no such file." if missing else "It cannot be read.")
        source = Source(place, data)
        return _Picture(record, position, source, image_id_of(record.product.product_id, source.sha256))

    def _store(self, picture: _Picture) -> ProductImage | RecordError | StorageFull:
        try:
            return self._catalogue.store(picture.record.product.product_id, picture.position, picture.source)
        except ImageError as error:
            return _error(picture.record, error.code, picture.source.name, str(error))
        except StorageFull as error:  # raised when the others of its batch have ended, too
            return error


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
    named = message if record.line is None or "://" in place else f"{name}: {message}"
    return RecordError(record.file, record.line, record.product.product_id, code, named)
