"""What is measured on: real photos with labels, or the sample catalogue that Seesame draws."""

import csv
import io
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from seesame.demo.catalogue import draw_catalogue
from seesame.records import Record, read_records

SIZE = (400, 533)  # pixels, of the pictures that embedding and requests are measured with
LARGE = (4000, 3000)  # pixels, of a photo as telephones take them
GRAIN, FINE_GRAIN = 5.0, 2.5  # how many levels of 256 its grain deviates: that makes the file as large as telephones'


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, the kind of thing it shows, and who took it (empty where nobody did)."""

    path: Path
    label: str
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """Pictures, and the table of products that brings them into a catalogue, one product a picture or so."""

    pictures: tuple[Picture, ...]
    csv: Path
    real: bool

    def encoded(self, count: int) -> list[bytes]:
        """So many JPEGs of 400x533 pixels, as they are where they have this size; repeated if there are too few."""
        paths = [picture.path for picture in self.pictures]
        sized = [path for path in paths if _size(path) == SIZE][:count]
        files = [path.read_bytes() for path in sized] or [_resized(path) for path in paths[:count]]
        return list(itertools.islice(itertools.cycle(files), count))

    @property
    def name(self) -> str:
        return f"{len(self.pictures)} {'photos' if self.real else 'drawn pictures'}"


def photos(folder: Path, scratch: Path) -> Material:
    """The photos of a folder with `photos.csv`: file, label, sender. The product's id is the file's name."""
    with (folder / "photos.csv").open(newline="", encoding="utf-8") as file:
        pictures = tuple(Picture(folder / row["file"], row["label"], row["sender"]) for row in csv.DictReader(file))
    products = scratch / "products.csv"
    with products.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("product_id", "title", "category", "image"))
        writer.writerows((p.path.name, p.label, p.label, p.path.absolute()) for p in pictures)
    return Material(pictures, products, real=True)


def drawn(scratch: Path) -> Material:
    """The sample catalogue, drawn into `scratch`."""
    sample = draw_catalogue(scratch / "sample")
    records = [record for record in read_records(sample.csv) if isinstance(record, Record)]
    pictures = tuple(
        Picture(Path(place), record.product.category or "") for record in records for place in record.images
    )
    return Material(pictures, sample.csv, real=False)


def large(photo: bytes, grain: float = GRAIN) -> bytes:
    """A JPEG of 12 megapixels that shows what `photo` shows, with grain: detail is what takes time to decode."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(photo)) as image:
        pixels = np.asarray(ImageOps.fit(image.convert("RGB"), LARGE, Image.Resampling.BICUBIC), dtype=np.float32)
    noise = np.random.default_rng(0).standard_normal((*pixels.shape[:2], 1), dtype=np.float32) * np.float32(grain)
    Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _resized(path: Path) -> bytes:
    out = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").resize(SIZE).save(out, "JPEG", quality=88)
    return out.getvalue()
