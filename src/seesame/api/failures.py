"""Images that got no vector, and another try for them."""

from datetime import datetime
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from seesame import failures
from seesame.api.parameters import App, PageLimit, PageOffset
from seesame.api.schemas import ImageOut

router = APIRouter(tags=["operation"])


class FailureOut(BaseModel):
    """An image that failed in one space."""

    product_id: str
    title: str
    image: ImageOut | None = Field(description="Null if it was deleted meanwhile.")
    space: str
    code: str
    message: str
    attempts: int
    given_up: bool = Field(description="It is tried again only on request.")
    next_try_at: datetime | None = Field(description="Null if it was given up, or is being tried now.")

    @classmethod
    def of(cls, failed: failures.FailedImage) -> Self:
        """From the service."""
        return cls(**failed._asdict() | {"image": ImageOut.of(failed.image) if failed.image else None})


class FailuresOut(BaseModel):
    """Some failures, and how many there are."""

    failures: list[FailureOut]
    total: int


class RetryIn(BaseModel):
    """Which images to try again."""

    model_config = ConfigDict(extra="forbid")

    product_id: str | None = Field(
        default=None, max_length=200, description="Of this product alone; all without it.", examples=["UMB-005"]
    )


class RetriedOut(BaseModel):
    """How many images are tried again."""

    retried: int


@router.get("/v1/failures")
def list_failures(
    app: App,
    limit: PageLimit = 24,
    offset: PageOffset = 0,
) -> FailuresOut:
    """Images that could not be embedded, by product."""
    failed, total = failures.page(app.database, limit=limit, offset=offset)
    return FailuresOut(failures=[FailureOut.of(each) for each in failed], total=total)


@router.post("/v1/failures/retry")
def retry_failures(app: App, body: RetryIn) -> RetriedOut:
    """Tries images that failed again, those that were given up as well."""
    return RetriedOut(retried=app.indexer.retry_failed(body.product_id))
