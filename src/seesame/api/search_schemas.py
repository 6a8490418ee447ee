"""What searches hold and what their answers look like."""

from typing import Annotated, Any, Self
from uuid import UUID, uuid4

from pydantic import BaseModel, Field, model_validator

from seesame.answers import Answer, Explanation, RegionAnswers
from seesame.api.forms import cursor_of, decoded_of
from seesame.api.schemas import ImageOut, Limit, Offset, ProductOut, RequestModel
from seesame.calibration import Scale
from seesame.filters import parse_filter
from seesame.queries import (
    MAX_CURSOR,
    MAX_FACETS,
    MAX_PARTS,
    MAX_TEXT,
    MAX_WEIGHT,
    EarlierPhoto,
    LikeImage,
    LikeProduct,
    Part,
    Photo,
    PhotoAt,
    Query,
    Subject,
    Words,
)
from seesame.query_photos import PREFIX
from seesame.search import MAX_REGIONS
from seesame.types import Hit, Method, Region

_MAX_URL = 10_000
_GOOD_MATCH = (
    "Whether one of the results is likely what the picture shows: a score of 0.5 or more. False: show them as the most "
    "similar there are, if at all. Null where nothing tells: the space is not calibrated, fewer than four products are "
    "found, the subject is not one picture, or the page is not the first."
)
_EXAMPLE_FILTER = {"category": "dresses", "price": {"lte": 100}, "attributes.color": ["red", "blue"]}

Filter = Annotated[dict[str, Any], Field(default={}, examples=[_EXAMPLE_FILTER])]
PhotoId = Annotated[str, Field(pattern=f"^{PREFIX}[A-Za-z0-9_-]{{22}}$", examples=["q_Zb3kR0vXw9aTq1LmN8sYtA"])]


class RegionIn(RequestModel):
    """A part of a picture: fractions of its width and height as it is shown, from the top left."""

    x: float = Field(ge=0, le=1, examples=[0.25])
    y: float = Field(ge=0, le=1, examples=[0.1])
    width: float = Field(gt=0, le=1, examples=[0.5])
    height: float = Field(gt=0, le=1, examples=[0.8])

    def region(self) -> Region:
        """Checked whether it lies within the picture."""
        return Region(self.x, self.y, self.width, self.height)


class ImageQuery(RequestModel):
    """A picture: of the catalogue or of an earlier search by its id, behind a URL, or in base64."""

    id: UUID | PhotoId | None = Field(default=None, examples=["8c2e1f5a-3a53-5d0e-9f6b-0e6a4f1c7d21"])
    url: str | None = Field(default=None, max_length=_MAX_URL)
    base64: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if [self.id, self.url, self.base64].count(None) != 2:
            raise ValueError("one of id, url or base64")
        return self

    def subject(self, field: str) -> Subject:
        """What is searched for; `field` names it in errors."""
        match self.id:
            case UUID():
                return LikeImage(self.id)
            case str():
                return EarlierPhoto(self.id)
        return PhotoAt(self.url) if self.url is not None else Photo(decoded_of(self.base64 or "", f"{field}.base64"))


class PartIn(RequestModel):
    """One of a picture, words, or a product, and how much it counts: below zero, "less of this"."""

    image: ImageQuery | None = None
    text: str | None = Field(default=None, max_length=MAX_TEXT)
    product_id: str | None = None
    weight: float = Field(default=1.0, ge=-MAX_WEIGHT, le=MAX_WEIGHT)
    region: RegionIn | None = Field(default=None, description="Of the picture.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if [self.image, self.text, self.product_id].count(None) != 2:
            raise ValueError("one of image, text or product_id")
        return self

    def part(self, number: int, region: RegionIn | None) -> Part:
        """From the request, which may give the region for all."""
        region = self.region or (region if self.image is not None else None)
        return Part(self._subject(f"queries.{number}"), self.weight, region.region() if region is not None else None)

    def _subject(self, field: str) -> Subject:
        if self.image is not None:
            return self.image.subject(f"{field}.image")
        return Words(self.text) if self.text is not None else LikeProduct(self.product_id or "")


class SearchIn(RequestModel):
    """A search for one subject, or for several together."""

    queries: list[PartIn] = Field(min_length=1, max_length=MAX_PARTS, examples=[[{"text": "red dress"}]])
    region: RegionIn | None = Field(default=None, description="Of the pictures among the queries.")
    filter: Filter
    facets: list[str] = Field(default=[], max_length=MAX_FACETS, examples=[["brand", "attributes.color"]])
    limit: Limit = 10
    offset: Offset = 0
    cursor: str | None = Field(default=None, max_length=MAX_CURSOR, description="`next` of the page before this one.")
    min_similarity: float | None = Field(default=None, ge=-1, le=1)
    hybrid: bool = Field(default=True, description="Look for words in the products' texts, too.")
    explain: bool = False

    def parts(self) -> list[Part]:
        """What is searched for."""
        return [part.part(number, self.region) for number, part in enumerate(self.queries)]

    def query(self) -> Query:
        """How the answer is to be cut."""
        return Query(
            parse_filter(self.filter),
            limit=self.limit,
            offset=self.offset,
            facets=tuple(self.facets),
            cursor=cursor_of(self.cursor),
            min_similarity=self.min_similarity,
            hybrid=self.hybrid,
            explain=self.explain,
        )


class RegionsIn(RequestModel):
    """A search for several regions of one picture."""

    image: ImageQuery
    regions: list[RegionIn] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_REGIONS,
        description="Left out: those that stand out, the first the most; the whole picture where none does.",
    )
    filter: Filter
    limit: Limit = 5


class ExplanationOut(BaseModel):
    """Why a product stands where it stands. Places begin at 1."""

    rank: int
    unfiltered_rank: int | None = Field(description="Its place without the filter; null beyond 200.")
    vector_rank: int | None = Field(description="Its place by likeness; null beyond 200, or where words alone count.")
    words_rank: int | None = Field(description="Its place by the texts' words; null where they do not count.")
    vector_share: float = Field(description="Which part of its score comes from likeness.")
    words_share: float = Field(description="Which part of its score comes from words.")

    @classmethod
    def of(cls, explanation: Explanation) -> Self:
        """From a search."""
        share = round(explanation.vector_share, 4)
        return cls(
            rank=explanation.rank,
            unfiltered_rank=explanation.unfiltered_rank,
            vector_rank=explanation.vector_rank,
            words_rank=explanation.words_rank,
            vector_share=share,
            words_share=round(1 - share, 4),
        )


class ResultOut(BaseModel):
    """A product found."""

    product_id: str
    similarity: float | None = Field(description="Cosine, 1.0 the same picture; null where words were matched.")
    score: float | None = Field(description="How likely it is what the picture shows, 0 to 1; null as `good_match`.")
    image: ImageOut | None = Field(description="The picture that matched best.")
    product: ProductOut
    explain: ExplanationOut | None = Field(default=None, description="If it was asked for.")

    @classmethod
    def of(cls, hit: Hit, scale: Scale | None, explanation: Explanation | None = None) -> Self:
        """From a search."""
        similarity = hit.similarity
        score = None if scale is None or similarity is None else scale.score(similarity)
        return cls(
            product_id=hit.product.product_id,
            similarity=None if similarity is None else round(similarity, 4),
            score=None if score is None else round(score, 4),
            image=ImageOut.of(hit.image) if hit.image else None,
            product=ProductOut.model_validate(hit.product),
            explain=ExplanationOut.of(explanation) if explanation else None,
        )


class MethodOut(BaseModel):
    """How products were found."""

    method: Method
    exhausted: bool = Field(description="No more products follow.")
    scanned: int = Field(description="How many pictures, or texts, were ranked; all that match, if no more follow.")


class FacetOut(BaseModel):
    """A value of a field, and how many products that meet the filter have it."""

    value: str | float | bool
    count: int


class _FoundOut(BaseModel):
    took_ms: float
    degraded: bool = Field(description="Whether a smaller model or plain words answered.")
    degraded_reason: str | None
    space: str


class AnswerOut(_FoundOut):
    """Products found, best first."""

    query_id: str
    image_id: str | None = Field(description="By which the photo can be searched with again for 15 minutes.")
    search: MethodOut
    good_match: bool | None = Field(description=_GOOD_MATCH)
    results: list[ResultOut]
    next: str | None = Field(description="The `cursor` of the next page; null where no more follow.")
    facets: dict[str, list[FacetOut]] = Field(
        description="By field its most frequent values. A filter on the field itself does not count there."
    )

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """From the search service."""
        page = answer.page
        explanations = answer.explanations or (None,) * len(page.hits)
        return cls(
            query_id=uuid4().hex,
            image_id=answer.photo_id,
            took_ms=round(answer.took_ms, 1),
            degraded=answer.degraded_reason is not None,
            degraded_reason=answer.degraded_reason,
            space=answer.space,
            search=MethodOut(method=page.method, exhausted=page.exhausted, scanned=page.scanned),
            good_match=answer.good_match,
            results=[
                ResultOut.of(hit, answer.scale, explanation)
                for hit, explanation in zip(page.hits, explanations, strict=True)
            ],
            next=str(answer.next) if answer.next is not None else None,
            facets={
                name: [FacetOut(value=value, count=count) for value, count in counted]
                for name, counted in answer.facets.items()
            },
        )


class RegionOut(BaseModel):
    """A region with what looks like it."""

    region: RegionIn
    good_match: bool | None = Field(description=_GOOD_MATCH)
    results: list[ResultOut]


class RegionsOut(_FoundOut):
    """What the regions of one picture look like."""

    image_id: str | None = Field(description="By which the photo can be searched with again for 15 minutes.")
    regions: list[RegionOut]

    @classmethod
    def of(cls, found: RegionAnswers) -> Self:
        """From the search service."""
        return cls(
            image_id=found.photo_id,
            took_ms=round(found.took_ms, 1),
            degraded=found.degraded_reason is not None,
            degraded_reason=found.degraded_reason,
            space=found.space,
            regions=[
                RegionOut(
                    region=RegionIn(x=region.x, y=region.y, width=region.width, height=region.height),
                    good_match=answer.good_match,
                    results=[ResultOut.of(hit, answer.scale) for hit in answer.page.hits],
                )
                for region, answer in found.found
            ],
        )
