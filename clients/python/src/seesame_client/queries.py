"""What is searched for, and how it is written."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from seesame_client.results import Region

Photo = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the bytes of a picture file, or a file opened in binary mode."""

JSON = {"Content-Type": "application/json"}
_KINDS = {".csv": "text/csv", ".tsv": "text/csv", ".jsonl": "application/x-ndjson", ".ndjson": "application/x-ndjson"}
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Query:
    """One subject of a search; several are weighed against each other, and a negative weight means "less of this"."""

    subject: Mapping[str, Any]
    picture: bytes | None = field(default=None, repr=False)
    weight: float = 1.0
    region: Region | None = None

    @classmethod
    def photo(cls, photo: Photo, *, weight: float = 1.0, region: Region | None = None) -> Query:
        """A photo, which is read at once. `region`: only a part of it is looked at."""
        return cls({}, read_photo(photo), weight, region)

    @classmethod
    def url(cls, url: str, *, weight: float = 1.0, region: Region | None = None) -> Query:
        """A photo that the server fetches from a public address."""
        return cls({"image": {"url": url}}, None, weight, region)

    @classmethod
    def image(cls, image_id: str, *, weight: float = 1.0, region: Region | None = None) -> Query:
        """A picture of the catalogue, or the photo of an earlier query by the answer's `image_id`."""
        return cls({"image": {"id": image_id}}, None, weight, region)

    @classmethod
    def text(cls, words: str, *, weight: float = 1.0) -> Query:
        """Words."""
        return cls({"text": words}, None, weight)

    @classmethod
    def product(cls, product_id: str, *, weight: float = 1.0) -> Query:
        """A product of the catalogue."""
        return cls({"product_id": product_id}, None, weight)

    def fields(self) -> dict[str, Any]:
        """As JSON; what is left to its default is left out."""
        subject = dict(self.subject)
        if self.picture is not None:
            subject["image"] = {"base64": base64.b64encode(self.picture).decode("ascii")}
        if self.weight != 1.0:
            subject["weight"] = self.weight
        if self.region is not None:
            subject["region"] = asdict(self.region)
        return subject


def read_photo(photo: Photo) -> bytes:
    """The bytes of a photo, all of them: a request that failed is sent once more."""
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | os.PathLike):
        return Path(photo).read_bytes()
    data = photo.read()
    if not isinstance(data, bytes):
        raise TypeError("A photo must be opened in binary mode.")
    return data


def written(value: Any) -> str:
    """Compact JSON. Raises ValueError for NaN and infinities, TypeError for what JSON cannot hold."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_number)


def _number(value: Any) -> float:
    if isinstance(value, Decimal):
        return float(value)  # written with no more digits than it takes to read the same price again
    raise TypeError(f"A {type(value).__name__} cannot be written as JSON.")


def lines(products: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """JSON Lines, in chunks; no more than one chunk is in memory."""
    chunk = bytearray()
    for product in products:
        chunk += written(product).encode() + b"\n"
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


def chunks(path: Path) -> Iterator[bytes]:
    """The content of a file, in chunks."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def file_kind(path: Path) -> str:
    """The media type of a file of products. Raises ValueError if its name does not tell."""
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path.name}: a name that ends in {', '.join(_KINDS)} is needed.")
    return kind
