"""What the server answers, as values. A field that this release does not know is passed over, so that a newer server
works; one that an older server does not send has its default. Words such as `status` are texts: new ones may come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture: fractions (0 to 1) of the upright picture, from its top left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of a product. `url` is a path on the server; `?size=thumb` behind it gives a small one."""

    id: str
    url: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Product:
    """A product. A search leaves `images` empty: its results name the one that matched."""

    product_id: str
    title: str = ""
    description: str = ""
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    currency: str | None = None
    url: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class ProductPage:
    """Some products, and how many there are. `next` is the cursor of the page that follows, if one does."""

    products: tuple[Product, ...]
    total: int
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a product has its place. Places begin at 1, and are None beyond the first 200.

    `unfiltered_rank` is its place without the filter; `vector_rank` and `words_rank` its places by likeness and by the
    words of its texts; the shares say how much of its score comes from each.
    """

    rank: int
    unfiltered_rank: int | None = None
    vector_rank: int | None = None
    words_rank: int | None = None
    vector_share: float | None = None
    words_share: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A product found.

    `similarity` is the cosine, 1.0 the same picture, None where words were matched; `score` is how likely it is what
    the picture shows, from 0 to 1, None as `good_match`.
    """

    product_id: str
    product: Product
    similarity: float | None = None
    score: float | None = None
    image: Image | None = None
    explain: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """How products were found. `exhausted`: no more follow."""

    method: str
    exhausted: bool
    scanned: int = 0


@dataclass(frozen=True, slots=True)
class Facet:
    """A value of a field, and how many products that meet the filter have it."""

    value: str | float | bool
    count: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Products found, best first.

    `next` is the cursor of the page behind this one, None where no more follow. `image_id` names the photo that was
    sent, for `Query.image` within a quarter of an hour. `degraded`: a smaller model or plain words answered.
    `good_match`: whether one of the results is likely what the picture shows, None if that is unknown.
    """

    query_id: str
    space: str
    search: Method
    results: tuple[Result, ...]
    facets: Mapping[str, tuple[Facet, ...]] = field(default_factory=dict)
    next: str | None = None
    image_id: str | None = None
    took_ms: float = 0.0
    degraded: bool = False
    degraded_reason: str | None = None
    good_match: bool | None = None


@dataclass(frozen=True, slots=True)
class RegionResults:
    """What was found for one part of a photo."""

    region: Region
    results: tuple[Result, ...]
    good_match: bool | None = None


@dataclass(frozen=True, slots=True)
class RegionsAnswer:
    """What was found for each part of a photo."""

    space: str
    regions: tuple[RegionResults, ...]
    image_id: str | None = None
    took_ms: float = 0.0
    degraded: bool = False
    degraded_reason: str | None = None


@dataclass(frozen=True, slots=True)
class DuplicateImage:
    """A picture of a group: `distance` and `similarity` are to the one that it is most like."""

    product_id: str
    image: Image
    title: str = ""
    distance: int | None = None
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Pictures of different products that belong together: `exact`, `near` or `lookalike`.

    `images` are the most alike of its `pictures`. `placeholder`: it may be rather a picture such as "no photo".
    """

    id: str
    kind: str
    images: tuple[DuplicateImage, ...]
    products: int = 0
    pictures: int = 0
    placeholder: bool = False


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A picture that stands for many products, of which `product_id` is one, or shows nothing."""

    image: Image
    product_id: str
    products: int
    reason: str


@dataclass(frozen=True, slots=True)
class JobError:
    """A line of an import, or a picture of it, that could not be used."""

    code: str
    message: str
    line: int | None = None
    product_id: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """An import: `status` is queued, running, succeeded, failed or cancelled.

    A job that succeeded may have lines that failed: `errors` has the first, `errors_total` how many there are.
    `total` is about right until the job has succeeded.
    """

    id: str
    status: str
    kind: str = "import"
    mode: str | None = None
    filename: str | None = None
    total: int = 0
    done: int = 0
    succeeded: int = 0
    failed: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    errors: tuple[JobError, ...] = ()
    errors_total: int = 0
    message: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that has no vector in a space, and why."""

    product_id: str
    code: str
    title: str = ""
    image: Image | None = None
    space: str = ""
    message: str = ""
    attempts: int = 0
    given_up: bool = False
    next_try_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Retried:
    """How many images are tried anew."""

    retried: int


@dataclass(frozen=True, slots=True)
class Space:
    """A space and how far it is filled. `role` is primary, fallback, candidate or retired."""

    key: str
    role: str
    vectors: int
    missing: int
    model: str = ""
    dimensions: int | None = None
    former: bool = False
    automatic: bool = False
    activated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Arriving:
    """A model that has no space yet, and what went wrong with it, if something did."""

    model: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Spaces:
    """All spaces, and the models whose spaces are to come."""

    spaces: tuple[Space, ...]
    arriving: tuple[Arriving, ...] = ()


@dataclass(frozen=True, slots=True)
class Activated:
    """The space that answers from now on."""

    key: str


@dataclass(frozen=True, slots=True)
class Category:
    """A category and how many products it has."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What the catalogue held when it was counted, and what answers."""

    products: int
    images: int
    answers_from: str
    categories: tuple[Category, ...] = ()
    spaces: tuple[Space, ...] = ()
    counted_at: datetime | None = None
    degraded_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """How CLIP is: in the server's process, or as a service beside it."""

    status: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """How a part of the server is: ok, degraded, down, unused or unknown; since when, as the process has seen it."""

    status: str
    since: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the parts work. `status` is ok, degraded or down."""

    status: str
    database: str
    clip: Clip
    answers_from: str | None = None
    degraded_reason: str | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Features:
    """The vector of a picture. Vectors of two spaces do not compare."""

    features: tuple[float, ...]
    space: str
    model: str
    dimensions: int
    normalized: bool = True
    took_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class FeaturesError:
    """Why one of several pictures has no vector."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class FeaturesResult:
    """The vector of one of several pictures or texts, or why there is none."""

    features: tuple[float, ...] | None = None
    error: FeaturesError | None = None


@dataclass(frozen=True, slots=True)
class FeaturesBatch:
    """A result for each picture or text, in order."""

    results: tuple[FeaturesResult, ...]
    space: str
    model: str
    dimensions: int
    normalized: bool = True
    took_ms: float = 0.0
