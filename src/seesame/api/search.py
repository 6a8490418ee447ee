"""Searches over HTTP."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from seesame.api.forms import (
    PICTURE,
    clauses_of,
    cursor_of,
    field_of,
    integer_of,
    multipart,
    names_of,
    number_of,
    picture_of,
    read_form,
    region_of,
    yes_or_no_of,
)
from seesame.api.parameters import App, Clauses, FacetNames
from seesame.api.schemas import Limit, Offset
from seesame.api.search_schemas import AnswerOut, PhotoId, RegionsIn, RegionsOut, SearchIn
from seesame.filters import parse_filter
from seesame.queries import MAX_LIMIT, MAX_OFFSET, MAX_TEXT, LikeProduct, Part, Photo, Query, Words

router = APIRouter(tags=["search"])

_FORM: dict[str, Any] = PICTURE | {
    "text": {"type": "string", "maxLength": MAX_TEXT, "description": "Words that the products match, too."},
    "region": {
        "type": "string",
        "description": "A part of the picture as JSON, in fractions from the top left.",
        "example": '{"x": 0.25, "y": 0.1, "width": 0.5, "height": 0.8}',
    },
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 10},
    "offset": {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
    "cursor": {"type": "string", "description": "`next` of the page before this one."},
    "filter": {"type": "string", "description": "Conditions as JSON.", "example": '{"price": {"lte": 50}}'},
    "facets": {"type": "string", "description": "Fields, parted by commas.", "example": "brand,attributes.color"},
    "min_similarity": {"type": "number", "minimum": -1, "maximum": 1},
    "hybrid": {"type": "boolean", "default": True, "description": "Look for words in the products' texts, too."},
    "explain": {"type": "boolean", "default": False},
}


@router.get("/v1/products/{product_id:path}/similar")
def similar_products(
    app: App,
    product_id: str,
    clauses: Clauses,
    facets: FacetNames = None,
    limit: Limit = 10,
    offset: Offset = 0,
    cursor: str | None = None,
) -> AnswerOut:
    """Other products that look like this one."""
    query = Query(clauses, limit=limit, offset=offset, facets=names_of(facets), cursor=cursor_of(cursor))
    return AnswerOut.of(app.search.find(LikeProduct(product_id), query))


@router.post("/v1/search/image", openapi_extra=multipart(_FORM))
async def search_by_image(app: App, request: Request) -> AnswerOut:
    """Products that look like the photo in the multipart part `image`."""
    async with read_form(request) as form:
        photo = Photo(await picture_of(form, _FORM))
        text = field_of(form, "text")
        parts = [Part(photo, region=region_of(form)), *([Part(Words(text))] if text is not None else [])]
        query = Query(
            clauses_of(field_of(form, "filter")),
            limit=integer_of(form, "limit", 10),
            offset=integer_of(form, "offset", 0),
            facets=names_of(field_of(form, "facets")),
            cursor=cursor_of(field_of(form, "cursor")),
            min_similarity=number_of(form, "min_similarity"),
            hybrid=yes_or_no_of(form, "hybrid", True),
            explain=yes_or_no_of(form, "explain", False),
        )
    return AnswerOut.of(await run_in_threadpool(app.search.find, parts, query))


@router.post("/v1/search")
def search(app: App, body: SearchIn) -> AnswerOut:
    """Products that are like pictures, words or products, or like several of them together."""
    return AnswerOut.of(app.search.find(body.parts(), body.query()))


@router.post("/v1/search/regions")
def search_regions(app: App, body: RegionsIn) -> RegionsOut:
    """What regions of one picture look like, each for itself."""
    query = Query(parse_filter(body.filter), limit=body.limit)
    regions = [region.region() for region in body.regions] if body.regions is not None else None
    return RegionsOut.of(app.search.find_regions(body.image.subject("image"), regions, query))


@router.delete("/v1/search/images/{image_id}", status_code=204)
def forget_photo(app: App, image_id: PhotoId) -> None:
    """Forgets the photo of an earlier search at once."""
    app.search.forget(image_id)
