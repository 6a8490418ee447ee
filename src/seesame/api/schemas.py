"""What requests hold and what replies look like."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from seesame.catalogue import Listing
from seesame.search import MAX_FACETS, MAX_LIMIT, MAX_OFFSET, MAX_TEXT, Answer
from seesame.spaces import SpaceState
from seesame.types import Hit, Method, Product, ProductImage

Price = Annotated[Decimal, PlainSerializer(float, return_type=float), Field(ge=0)]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many products, at most.")]
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET, description="How many products to pass over.")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProductIn(_Request):
    """A product as the shop writes it."""

    title: str = ""
    description: str = ""
    category: str | None = None
    brand: str | None = None
    price: Price | None = None
    currency: str | None = Field(default=None, examples=["EUR"])
    url: str | None = None
    attributes: dict[str, Any] = {}

    def product(self, product_id: str) -> Product:
        """The product with its id."""
        return Product(product_id=product_id, **self.model_dump() | {"price": self.price})


class ImageQuery(_Request):
    """A picture of the catalogue by its id, or any picture in base64."""

    id: UUID | None = None
    base64: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.id is None) == (self.base64 is None):
            raise ValueError("either id or base64")
        return self


class OneQuery(_Request):
    """The subject of a search: one of a picture, words, or a product."""

    image: ImageQuery | None = None
    text: str | None = Field(default=None, max_length=MAX_TEXT)
    product_id: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if [self.image, self.text, self.product_id].count(None) != 2:
            raise ValueError("one of image, text or product_id")
        return self


class SearchIn(_Request):
    """A search."""

    queries: list[OneQuery] = Field(min_length=1, max_length=1)
    filter: dict[str, Any] = Field(
        default={},
        examples=[{"category": "dresses", "price": {"lte": 100}, "attributes.color": ["red", "blue"]}],
    )
    facets: list[str] = Field(default=[], max_length=MAX_FACETS, examples=[["brand", "attributes.color"]])
    limit: Limit = 10
    offset: Offset = 0


class ImageOut(BaseModel):
    """A picture of a product. `?size=thumb` behind its URL gives a small one."""

    id: UUID
    url: str
    width: int = Field(description="Pixels of the picture as it came.")
    height: int

    @classmethod
    def of(cls, image: ProductImage) -> Self:
        """From a stored image."""
        return cls(id=image.image_id, url=f"/v1/images/{image.image_id}", width=image.width, height=image.height)


class ProductOut(BaseModel):
    """A product."""

    model_config = ConfigDict(from_attributes=True)

    product_id: str
    title: str
    description: str
    category: str | None
    brand: str | None
    price: Price | None
    currency: str | None
    url: str | None
    attributes: dict[str, Any]


class ListingOut(ProductOut):
    """A product with its pictures."""

    images: list[ImageOut]

    @classmethod
    def of(cls, listing: Listing) -> Self:
        """From the catalogue."""
        product = ProductOut.model_validate(listing.product).model_dump()
        return cls(**product, images=[ImageOut.of(image) for image in listing.images])


class ProductsOut(BaseModel):
    """Some products, and how many there are."""

    products: list[ListingOut]
    total: int


class ResultOut(BaseModel):
    """A product found."""

    product_id: str
    similarity: float | None = Field(description="Cosine, 1.0 the same picture; null where words were matched.")
    image: ImageOut | None = Field(description="The picture that matched best.")
    product: ProductOut

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """From a search."""
        return cls(
            product_id=hit.product.product_id,
            similarity=None if hit.similarity is None else round(hit.similarity, 4),
            image=ImageOut.of(hit.image) if hit.image else None,
            product=ProductOut.model_validate(hit.product),
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


class AnswerOut(BaseModel):
    """Products found, best first."""

    query_id: str
    took_ms: float
    degraded: bool = Field(description="Whether a smaller model or plain words answered.")
    degraded_reason: str | None
    space: str
    search: MethodOut
    results: list[ResultOut]
    facets: dict[str, list[FacetOut]] = Field(
        description="By field its most frequent values. A filter on the field itself does not count there."
    )

    @classmethod
    def of(cls, answer: Answer, query_id: str) -> Self:
        """From the search service."""
        return cls(
            query_id=query_id,
            took_ms=round(answer.took_ms, 1),
            degraded=answer.degraded_reason is not None,
            degraded_reason=answer.degraded_reason,
            space=answer.space,
            search=MethodOut(method=answer.page.method, exhausted=answer.page.exhausted, scanned=answer.page.scanned),
            results=[ResultOut.of(hit) for hit in answer.page.hits],
            facets={
                name: [FacetOut(value=value, count=count) for value, count in counted]
                for name, counted in answer.facets.items()
            },
        )


class CategoryOut(BaseModel):
    """A category and how many products it has."""

    name: str
    count: int


class SpaceOut(BaseModel):
    """A space and how far it is filled."""

    key: str
    role: Literal["primary", "fallback", "candidate", "retired"]
    vectors: int
    missing: int


class SpaceDetailOut(SpaceOut):
    """A space with its model."""

    model: str
    dimensions: int
    former: bool = Field(description="It was the primary before, and can be brought back at once.")
    automatic: bool = Field(description="A candidate that takes over by itself when it is complete.")
    activated_at: datetime | None

    @classmethod
    def of(cls, state: SpaceState) -> Self:
        """From the space service."""
        space = state.space
        return cls(
            key=space.key,
            role=space.role,
            vectors=state.vectors,
            missing=state.missing,
            model=space.model,
            dimensions=space.dimensions,
            former=space.is_former,
            automatic=space.automatic and space.role == "candidate",
            activated_at=space.activated_at,
        )


class ArrivingOut(BaseModel):
    """A model that is on its way into this process and has no space yet."""

    model: str
    error: str | None = Field(description="What went wrong with it, if something did.")


class SpacesOut(BaseModel):
    """All spaces, and the models whose spaces are to come."""

    spaces: list[SpaceDetailOut]
    arriving: list[ArrivingOut]


class SpaceIn(_Request):
    """A model to begin a space for."""

    model: str = Field(min_length=1, max_length=200, examples=["fashion-clip"])


class ActivatedOut(BaseModel):
    """The space that answers from now on."""

    key: str


class StatsOut(BaseModel):
    """What the catalogue holds and what answers."""

    products: int
    images: int
    categories: list[CategoryOut]
    spaces: list[SpaceOut]
    answers_from: str
    degraded_reason: str | None


class ClipOut(BaseModel):
    """How CLIP is: in this process, or as a service beside it."""

    status: Literal["in_process", "unknown", "available", "starting", "unavailable"]
    since: datetime | None = Field(description="Since when; null in this process.")


class HealthOut(BaseModel):
    """Whether the parts work."""

    status: Literal["ok", "degraded", "down"]
    database: Literal["ok", "down"]
    answers_from: str | None
    degraded_reason: str | None
    clip: ClipOut
