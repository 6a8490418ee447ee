"""What a search gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from seesame.calibration import Calibration
from seesame.queries import Cursor
from seesame.spaces import Reason
from seesame.types import Hit, Page, Region

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
    `calibration`: by which similarities have a score; None where they have none.
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
    calibration: Calibration | None = None

    @property
    def good_match(self) -> bool | None:
        """Whether one of the hits is likely what the picture shows; None where that is not known."""
        return _good_match(self.page.hits, self.calibration)


@dataclass(frozen=True, slots=True)
class RegionAnswers:
    """What regions of one photo look like, all found in one space. `photo_id`, `calibration`: as in an answer."""

    found: tuple[tuple[Region, tuple[Hit, ...]], ...]
    space: str
    degraded_reason: Reason | None
    took_ms: float
    photo_id: str | None
    calibration: Calibration | None

    def good_match(self, hits: Sequence[Hit]) -> bool | None:
        """Of one region, as in an answer."""
        return _good_match(hits, self.calibration)


def _good_match(hits: Sequence[Hit], calibration: Calibration | None) -> bool | None:
    return None if calibration is None else calibration.is_good(hit.similarity for hit in hits)
