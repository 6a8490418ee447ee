"""Values that pass between the layers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from seesame.calibration import Calibration
from seesame.errors import ImageError, InvalidInput, ModelInvalid

Scope = Literal["search", "admin"]
"""What a key is for: to search and to read products, or everything."""

Vector = NDArray[np.float32]
"""Shape (dimensions,), unit length."""

Vectors = NDArray[np.float32]
"""Shape (n, dimensions), rows of unit length."""

Embedded = Vector | ImageError | ModelInvalid
"""The vector of a picture, or why it has none: it is unusable, or the model fails on it."""


_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture: fractions of its upright width and height, from the top left.

    Raises:
        InvalidInput: it is empty, or reaches out of the picture.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        inside = all(map(math.isfinite, astuple(self))) and self.x >= 0 and self.y >= 0
        if not inside or self.width <= 0 or self.height <= 0:
            raise InvalidInput("region", "x and y are 0 or more, width and height more than 0.")
        if self.x + self.width > 1 + _ROUNDING or self.y + self.height > 1 + _ROUNDING:
            raise InvalidInput("region", "A region lies within the picture: x + width and y + height are at most 1.")

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, upper, right and lower pixel in a picture of this size; at least one pixel."""
        left, upper = min(int(self.x * width), width - 1), min(int(self.y * height), height - 1)
        right, lower = round((self.x + self.width) * width), round((self.y + self.height) * height)
        return left, upper, min(max(right, left + 1), width), min(max(lower, upper + 1), height)


@dataclass(frozen=True, slots=True)
class SpaceIdentity:
    """What makes two vectors comparable: they come from the same model, weights and preprocessing.

    `model` is the name people use (a curated name, a repository or a folder's name); `digest` is the SHA-256, in hex,
    over the weights and the preprocessing.
    """

    model: str
    digest: str
    dimensions: int

    @property
    def key(self) -> str:
        """The name of the space, such as `vit-b-32-laion2b@3f2a9c41`."""
        return f"{self.model}@{self.digest[:8]}"


class Embedder(Protocol):
    """Turns pictures, and words if it has a text tower, into unit vectors. Safe to call from several threads."""

    @property
    def identity(self) -> SpaceIdentity:
        """The space that its vectors belong to."""

    @property
    def has_text(self) -> bool:
        """Whether `embed_texts` works."""

    @property
    def available(self) -> bool:
        """Whether it is worth asking; False while it would raise EmbedderUnavailable at once."""

    @property
    def bulk_size(self) -> int:
        """How many pictures a bulk call should have, where a process that is killed loses what it had not written."""

    def embed_images(self, pictures: Sequence[bytes], *, bulk: bool = False) -> list[Embedded]:
        """One unit vector, or the reason why there is none, for each encoded picture, in order.

        `bulk` says that nobody waits for the answer, so that queries go first, and that Seesame has made the pictures
        itself, so that they need no guard. Raises EmbedderError.
        """

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, one row a text, in the same space as the pictures. Raises EmbedderError."""

    def close(self) -> None:
        """Finishes what was accepted and gives back its threads."""


@dataclass(frozen=True, slots=True)
class Product:
    """What the shop sells; its id is the shop's own."""

    product_id: str
    title: str = ""
    description: str = ""
    category: str | None = None
    brand: str | None = None
    price: Decimal | None = None
    currency: str | None = None
    url: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Fingerprint(NamedTuple):
    """How a picture looks, in 128 bits. `uniform`: it is nearly one colour, and the bits say nothing."""

    bits: bytes
    uniform: bool


@dataclass(frozen=True, slots=True)
class ProductImage:
    """One picture of a product. Its bytes never change: others are another image, with another id.

    It has its fingerprint while it is new; none is read with it.
    """

    product_id: str
    image_id: UUID
    position: int
    source: str
    sha256: bytes
    width: int
    height: int
    format: str
    bytes_ref: str
    etag: str | None = None  # with which the source gave it, as `last_modified`
    last_modified: str | None = None
    fingerprint: Fingerprint | None = field(default=None, compare=False)


DuplicateKind = Literal["exact", "near", "lookalike"]
"""The same bytes; the same picture, resized, recompressed, cropped or brightened; other pictures that look alike."""


class Validators(NamedTuple):
    """What a host said to know the bytes behind a URL again by. `known` of a fetch, to ask only for other bytes."""

    etag: str | None
    last_modified: str | None


class Place(NamedTuple):
    """Where an image of a product comes from, and its place among the product's images."""

    product_id: str
    image_id: UUID
    position: int
    source: str
    etag: str | None = None
    last_modified: str | None = None


class ListPlace(NamedTuple):
    """Where a product stands in the list of all, the newest first. It outlives the product."""

    created_at: datetime
    product_id: str


class Origin(NamedTuple):
    """Where a model is found again: a curated name, a repository or a folder's path, and which of its files."""

    source: str
    precision: str


Role = Literal["primary", "fallback", "candidate", "retired"]


@dataclass(frozen=True, slots=True)
class Space:
    """A space as the database knows it.

    `vector_type` is `halfvec` with pgvector and `real[]` without; `indexed`, whether it has an index that can be used;
    `images`, about how many vectors there were when PostgreSQL last looked, -1 where it never did.
    `source` and `precision` are the model's `Origin`, None where that is unknown. `automatic`: see `spaces`.
    `calibration`: what its similarities mean, None while that was not measured.
    """

    space_id: int
    key: str
    dimensions: int
    role: Role
    ef_search: int
    vector_type: str
    indexed: bool
    images: int
    model: str
    source: str | None
    precision: str | None
    automatic: bool
    created_at: datetime
    activated_at: datetime | None
    calibration: Calibration | None

    @property
    def is_former(self) -> bool:
        """Whether it was the primary before."""
        return self.role == "candidate" and self.activated_at is not None


@dataclass(frozen=True, slots=True)
class WorkItem:
    """An image that lacks its vector in one space, leased to one worker."""

    product_id: str
    image_id: UUID
    bytes_ref: str


FieldValue = str | int | float | bool | Decimal


@dataclass(frozen=True, slots=True)
class Clause:
    """Conditions on one field of a product, all of which must hold.

    A field that is a list has the value that it contains. A field that is missing equals nothing, lies in no range, and
    is none of whatever it must not be.
    """

    field: str
    any_of: tuple[FieldValue, ...] = ()
    none_of: tuple[FieldValue, ...] = ()
    lower: Decimal | None = None
    lower_inclusive: bool = True
    upper: Decimal | None = None
    upper_inclusive: bool = True
    exists: bool | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A product found, with its best image. `similarity` is the cosine; None where words were matched, not vectors."""

    product: Product
    similarity: float | None
    image: ProductImage | None


Method = Literal["hnsw", "iterative", "exact", "fulltext", "hybrid"]


class Spot(NamedTuple):
    """Where a page of nearest products ended; the next holds what is farther, or as far with a later id."""

    distance: float
    product_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some hits, best first.

    `exhausted`: no more follow. `scanned`: how many images were compared, or texts ranked. `end`: where it ended, if
    the hits are in the order of their distance.
    """

    hits: tuple[Hit, ...]
    method: Method
    exhausted: bool
    scanned: int
    end: Spot | None = None
