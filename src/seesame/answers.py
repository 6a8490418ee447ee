"""What a search gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from seesame.calibration import Scale
from seesame.queries import Cursor
from seesame.spaces import Reason
from seesame.types import Page, Region

Facets = Mapping[str, list[tuple[str | float | bool, int]]]
"""By field its most frequent values, with how many products have them."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a product stands where it stands. Places begin at 1.

    `unfiltered_rank`: its place without the filter, None beyond 200. `vector_rank` and `words_rank`: in the two
    rankings, None where it is not among the first 200 or nothing was ranked so. `vector_share`: which part of its score
    comes from the vectors, from 0 to 1; the rest is the words'.
    """

    rank: int
    unfiltered_rank: int | None
    vector_rank: int | None
    words_rank: int | None
    vector_share: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A page of products, the space that they were found in, and why the answer is degraded if it is.

    `photo_id`: by which the photo can be searched with again. `explanations`: one for each hit, if they were asked for.
    `scale`: by which similarities have a score; None where they have none.
    """

    page: Page
    space: str
    degraded_reason: Reason | None
    took_ms: float
    embedding_ms: float = 0.0
    facets: Facets = field(default_factory=dict)
    photo_id: str | None = None
    next: Cursor | None = None
    explanations: tuple[Explanation, ...] = ()
    scale: Scale | None = None

    @property
    def good_match(self) -> bool | None:
        """Whether one of the hits is likely what the picture shows; None where that cannot be told."""
        if self.scale is None:
            return None
        return any(hit.similarity is not None and self.scale.is_good(hit.similarity) for hit in self.page.hits)


@dataclass(frozen=True, slots=True)
class RegionAnswers:
    """What regions of one photo look like, all found in one space. `photo_id`: as in an answer."""

    found: tuple[tuple[Region, Answer], ...]
    space: str
    degraded_reason: Reason | None
    took_ms: float
    photo_id: str | None
