"""What is searched for, and how the answer is to be cut."""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from seesame.catalogue import check_text
from seesame.errors import InvalidInput
from seesame.filters import check_facet
from seesame.types import Clause, Region, Spot

MAX_LIMIT = 200
MAX_OFFSET = 10_000
MAX_TEXT = 1_000  # characters
MAX_FACETS = 10
MAX_PARTS = 8
MAX_WEIGHT = 100
MAX_CURSOR = 2_000  # characters


@dataclass(frozen=True, slots=True)
class Photo:
    """An encoded picture."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PhotoAt:
    """A picture behind a URL."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class EarlierPhoto:
    """The photo of an earlier search, by the id that its answer gave."""

    photo_id: str


@dataclass(frozen=True, slots=True)
class Words:
    """A description."""

    text: str

    def __post_init__(self) -> None:
        check_text("text", self.text, MAX_TEXT)
        if not self.text.strip():
            raise InvalidInput("text", "Words to search for are needed.")


@dataclass(frozen=True, slots=True)
class LikeProduct:
    """A product's first picture; the product itself is not found."""

    product_id: str


@dataclass(frozen=True, slots=True)
class LikeImage:
    """A picture of the catalogue; its own product is found, too."""

    image_id: UUID


Subject = Photo | PhotoAt | EarlierPhoto | Words | LikeProduct | LikeImage


@dataclass(frozen=True, slots=True)
class Part:
    """A subject with how much it counts, and which region of it. What has a negative weight is to be unlike."""

    subject: Subject
    weight: float = 1.0
    region: Region | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight) or not 0 < abs(self.weight) <= MAX_WEIGHT:
            raise InvalidInput("weight", f"A weight is not zero, and at most {MAX_WEIGHT} either way.")
        if self.region is not None and isinstance(self.subject, Words | LikeProduct):
            raise InvalidInput("region", "Only a picture has regions.")


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next page begins: after `shown` products and, if they were found in the same space, after a spot.

    Whoever goes on from a spot sees no product twice, whatever was added meanwhile, and however much deeper the index
    looks.
    """

    shown: int
    space: str
    spot: Spot | None

    def __str__(self) -> str:
        """As it goes to clients, who take it as it is."""
        written = json.dumps([self.shown, self.space, *(self.spot or ())], ensure_ascii=False, separators=(",", ":"))
        return base64.urlsafe_b64encode(written.encode()).rstrip(b"=").decode()

    @classmethod
    def parse(cls, written: str) -> Self:
        """From what a client sends back.

        Raises:
            InvalidInput: it never came from here.
        """
        try:
            padded = written.encode("ascii") + b"=" * (-len(written) % 4)
            shown, space, *spot = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if type(shown) is not int or not 0 <= shown <= MAX_OFFSET or not isinstance(space, str):
                raise ValueError
            if not spot:
                return cls(shown, space, None)
            distance, product_id = spot
            if not math.isfinite(distance):
                raise ValueError
            check_text("cursor", product_id, MAX_CURSOR)
            return cls(shown, space, Spot(float(distance), product_id))
        except (ValueError, TypeError, RecursionError, InvalidInput) as error:
            raise InvalidInput("cursor", "Not a cursor of an earlier answer.") from error


@dataclass(frozen=True, slots=True)
class Query:
    """What every kind of search takes beside its subject.

    `cursor` goes on where a page ended, instead of `offset`. Products less similar than `min_similarity` are left out.
    `hybrid`: words are looked for in the products' texts, too, where a model reads them already. `explain`: tell for
    each product why it stands where it stands.
    """

    clauses: tuple[Clause, ...] = ()
    limit: int = 10
    offset: int = 0
    facets: tuple[str, ...] = ()
    cursor: Cursor | None = None
    min_similarity: float | None = None
    hybrid: bool = True
    explain: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise InvalidInput("limit", f"A limit lies between 1 and {MAX_LIMIT}.")
        if not 0 <= self.offset <= MAX_OFFSET:
            raise InvalidInput("offset", f"An offset lies between 0 and {MAX_OFFSET:,}.")
        if self.cursor is not None and self.offset:
            raise InvalidInput("cursor", "Either a cursor or an offset.")
        if self.min_similarity is not None and not -1 <= self.min_similarity <= 1:
            raise InvalidInput("min_similarity", "A similarity lies between -1 and 1.")
        if len(self.facets) > MAX_FACETS:
            raise InvalidInput("facets", f"At most {MAX_FACETS} fields.")
        for name in self.facets:
            check_facet(name)

    @property
    def shown(self) -> int:
        """How many products are passed over."""
        return self.offset if self.cursor is None else self.cursor.shown

    def spot(self, space: str) -> Spot | None:
        """Where the last page ended in this space; None where it was another, or an offset says it."""
        return self.cursor.spot if self.cursor is not None and self.cursor.space == space else None


def check_parts(parts: Sequence[Part]) -> None:
    """Checks what cannot be searched for together.

    Raises:
        InvalidInput: none, too many, or nothing to be like.
    """
    if not 1 <= len(parts) <= MAX_PARTS:
        raise InvalidInput("queries", f"Between 1 and {MAX_PARTS} of them.")
    if all(part.weight < 0 for part in parts):
        raise InvalidInput("queries", "At least one has a weight above zero: something to be like.")
