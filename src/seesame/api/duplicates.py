"""Pictures that are the same, nearly the same or alike in different products, and pictures that stand for many."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from seesame.api.parameters import App
from seesame.api.schemas import ImageOut
from seesame.db.duplicates import Member, PlaceholderReason, Run
from seesame.duplicates import MAX_GROUPS, MAX_OFFSET, DuplicateGroup, Found, Placeholder
from seesame.types import DuplicateKind

router = APIRouter(tags=["duplicates"])

_Limit = Annotated[int, Query(ge=1, le=MAX_GROUPS, description="How many, at most.")]
_Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET, description="How many to pass over.")]


class DuplicateImageOut(BaseModel):
    """A picture of a group."""

    product_id: str
    title: str
    image: ImageOut
    distance: int | None = Field(
        description="Of 128 bits of its look, how many differ from another picture of the group."
    )
    similarity: float | None = Field(
        description="Cosine to that one: the most alike, or the one in the middle of look-alikes."
    )

    @classmethod
    def of(cls, member: Member) -> Self:
        """From the service."""
        return cls(
            product_id=member.image.product_id,
            title=member.title,
            image=ImageOut.of(member.image),
            distance=member.distance,
            similarity=round(member.similarity, 4),
        )


class DuplicateGroupOut(BaseModel):
    """Pictures of different products that belong together."""

    id: UUID = Field(description="Stays while its pictures stay.")
    kind: DuplicateKind = Field(
        description="`exact`: the same bytes. `near`: the same picture, resized, recompressed, brightened or cropped a"
        " little. `lookalike`: a picture, or its copies, with other pictures that look like it."
    )
    products: int
    pictures: int = Field(description="How many it has; `images` are the most alike of them.")
    placeholder: bool = Field(
        description="It stands for so many products that it is rather a picture such as “no photo”."
    )
    images: list[DuplicateImageOut]

    @classmethod
    def of(cls, found: DuplicateGroup) -> Self:
        """From the service."""
        group = found.group
        return cls(
            id=group.group_id,
            kind=group.kind,
            products=group.products,
            pictures=group.pictures,
            placeholder=found.placeholder,
            images=[DuplicateImageOut.of(member) for member in found.members],
        )


class _FromRun(BaseModel):
    total: int = Field(description="How many there are in all.")
    computed_at: datetime | None = Field(description="When pictures were compared last; null before the first time.")
    compared: int = Field(description="How many pictures had been compared with all others then.")


def _told(run: Run | None) -> dict[str, Any]:
    """What a reply says of the run that it is from."""
    return {"computed_at": run.finished_at if run else None, "compared": run.compared if run else 0}


class DuplicatesOut(_FromRun):
    """Groups, the closest kind first, in each kind those of the most products, and most alike, first."""

    groups: list[DuplicateGroupOut]

    @classmethod
    def of(cls, found: Found) -> Self:
        """From the service."""
        return cls(
            groups=[DuplicateGroupOut.of(group) for group in found.groups], total=found.total, **_told(found.run)
        )


class PlaceholderOut(BaseModel):
    """A picture that stands for many products, or shows nothing."""

    image: ImageOut
    product_id: str = Field(description="One of its products.")
    products: int
    reason: PlaceholderReason = Field(
        description="`same_picture`, or `near_picture`, in many products; `uniform`: nearly one colour."
    )

    @classmethod
    def of(cls, found: Placeholder) -> Self:
        """From the service."""
        image = ImageOut.of(found.image)
        return cls(image=image, product_id=found.image.product_id, products=found.products, reason=found.reason)


class PlaceholdersOut(_FromRun):
    """Pictures that stand for products that have none, most products first."""

    placeholders: list[PlaceholderOut]

    @classmethod
    def of(cls, found: Sequence[Placeholder], total: int, run: Run | None) -> Self:
        """From the service."""
        return cls(placeholders=[PlaceholderOut.of(one) for one in found], total=total, **_told(run))


@router.get("/v1/duplicates")
def list_duplicates(
    app: App,
    kind: DuplicateKind | None = None,
    product_id: Annotated[str | None, Query(description="Only groups with a picture of this product.")] = None,
    limit: _Limit = 20,
    offset: _Offset = 0,
) -> DuplicatesOut:
    """Pictures that are the same, nearly the same or alike in different products.

    They were compared beforehand, at `computed_at`; pictures deleted since are left out. A group shows 20 of its
    pictures at most.
    """
    return DuplicatesOut.of(app.duplicates.groups(kind, product_id=product_id, limit=limit, offset=offset))


@router.get("/v1/placeholders")
def list_placeholders(
    app: App,
    min_products: Annotated[
        int | None, Query(ge=2, le=1_000_000, description="Of how many products; default: the setting, 10.")
    ] = None,
    limit: _Limit = 20,
    offset: _Offset = 0,
) -> PlaceholdersOut:
    """Pictures such as “no photo”: the same, or nearly, in many products, or nearly of one colour."""
    return PlaceholdersOut.of(*app.duplicates.placeholders(at_least=min_products, limit=limit, offset=offset))
