"""What requests hold and what replies look like."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from seesame.catalogue import Listing
from seesame.clip_watch import ClipState
from seesame.parts import Report
from seesame.queries import MAX_LIMIT, MAX_OFFSET
from seesame.spaces import SpaceState
from seesame.types import Product, ProductImage

Price = Annotated[Decimal, PlainSerializer(float, return_type=float), Field(ge=0)]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many products, at most.")]
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET, description="How many products to pass over.")]


class RequestModel(BaseModel):
    """Refuses fields that it does not know."""

    model_config = ConfigDict(extra="forbid")


class ProductIn(RequestModel):
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


class ImageIn(RequestModel):
    """A picture that lies elsewhere."""

    url: str = Field(max_length=10_000, examples=["https://images.example/umbrella.jpg"])


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
    next: str | None = Field(description="The `cursor` of the next page; null where no more follow.")


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


class SpaceIn(RequestModel):
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
    counted_at: datetime
    answers_from: str
    degraded_reason: str | None


class ClipOut(BaseModel):
    """How CLIP is: in this process, or as a service beside it."""

    status: Literal["in_process", "unknown", "available", "starting", "unavailable"]
    since: datetime | None = Field(description="Since when; null in this process.")


class PartOut(BaseModel):
    """How a part is. It is `unused` where the settings do without it, `unknown` while the database is away."""

    model_config = ConfigDict(from_attributes=True)

    status: Literal["ok", "degraded", "down", "unused", "unknown"]
    since: datetime = Field(description="Since when, as this process has seen it, to within two seconds.")
    detail: str


class HealthOut(BaseModel):
    """Whether the parts work. `status` is of searches alone, not of `redis`, `backfill`, `decoders` or `disk`."""

    status: Literal["ok", "degraded", "down"]
    database: Literal["ok", "down"]
    answers_from: str | None
    degraded_reason: str | None
    clip: ClipOut
    parts: dict[str, PartOut] = Field(
        description="`database`, `clip`, `fallback`, `index`, `redis`, `backfill`, `decoders` and `disk`."
    )

    @classmethod
    def of(cls, report: Report, clip: ClipState | None) -> Self:
        """From what a look saw. `clip` is None where models run in this process."""
        answering = report.answering
        reason = answering.degraded_reason if answering else None
        return cls(
            status="down" if answering is None else "degraded" if reason else "ok",
            database="ok" if answering else "down",
            answers_from=answering.space.key if answering else None,
            degraded_reason=reason,
            clip=ClipOut(status=clip.status, since=clip.since) if clip else ClipOut(status="in_process", since=None),
            parts={name: PartOut.model_validate(part) for name, part in report.parts.items()},
        )
