"""The endpoints: parse, call one service, shape the reply."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as Part

from seesame.api.schemas import (
    ActivatedOut,
    AnswerOut,
    ArrivingOut,
    CategoryOut,
    ClipOut,
    HealthOut,
    ImageOut,
    Limit,
    ListingOut,
    Offset,
    ProductIn,
    ProductsOut,
    SearchIn,
    SpaceDetailOut,
    SpaceIn,
    SpaceOut,
    SpacesOut,
    StatsOut,
)
from seesame.application import Application
from seesame.errors import DatabaseUnavailable, InvalidInput, SeesameError
from seesame.filters import parse_filter
from seesame.http.metrics import exposition
from seesame.http.problems import problem
from seesame.search import MAX_LIMIT, MAX_OFFSET
from seesame.search import Query as SearchQuery
from seesame.types import Clause

router = APIRouter()


class _Jpeg(Response):
    media_type = "image/jpeg"


_PICTURE_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "cross-origin",  # for the widget in a page that is isolated from other origins
}
_MAX_FIELDS = 20
_MAX_FIELD_BYTES = 512 * 1024


_PICTURE = {"image": {"type": "string", "format": "binary", "description": "A picture of any accepted format."}}
_SEARCH_FORM = _PICTURE | {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 10},
    "offset": {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
    "filter": {"type": "string", "description": "Conditions as JSON.", "example": '{"price": {"lte": 50}}'},
    "facets": {"type": "string", "description": "Fields, parted by commas.", "example": "brand,attributes.color"},
}


def _multipart(properties: dict[str, Any]) -> dict[str, Any]:
    """The description of a form that the route reads by itself, to bound its parts."""
    schema = {"type": "object", "properties": properties, "required": ["image"]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


App = Annotated[Application, Depends(_application)]


def _written_filter(
    filter: Annotated[  # noqa: A002 - the name of the parameter in the URL
        str | None, Query(max_length=_MAX_FIELD_BYTES, description="Conditions as JSON.")
    ] = None,
) -> tuple[Clause, ...]:
    return _clauses(filter)


FacetNames = Annotated[str | None, Query(max_length=1_000, description="Fields, parted by commas.")]
Clauses = Annotated[tuple[Clause, ...], Depends(_written_filter)]


@router.put("/v1/products/{product_id:path}", tags=["catalogue"], responses={201: {"model": ListingOut}})
def put_product(app: App, product_id: str, body: ProductIn, response: Response) -> ListingOut:
    """Creates or replaces a product. Its pictures stay."""
    if app.catalogue.put(body.product(product_id)):
        response.status_code = 201
    return ListingOut.of(app.catalogue.get(product_id))


@router.get("/v1/products", tags=["catalogue"])
def list_products(app: App, clauses: Clauses, limit: Limit = 24, offset: Offset = 0) -> ProductsOut:
    """Products, the newest first."""
    listings, total = app.catalogue.list(clauses, limit=limit, offset=offset)
    return ProductsOut(products=[ListingOut.of(listing) for listing in listings], total=total)


@router.get("/v1/products/{product_id:path}/similar", tags=["search"])
def similar_products(
    app: App, product_id: str, clauses: Clauses, facets: FacetNames = None, limit: Limit = 10, offset: Offset = 0
) -> AnswerOut:
    """Other products that look like this one."""
    query = SearchQuery(clauses, limit=limit, offset=offset, facets=_names(facets))
    return AnswerOut.of(app.search.like_product(product_id, query), uuid4().hex)


@router.get("/v1/products/{product_id:path}", tags=["catalogue"])
def get_product(app: App, product_id: str) -> ListingOut:
    """One product with its pictures."""
    return ListingOut.of(app.catalogue.get(product_id))


@router.delete("/v1/products/{product_id:path}/images/{image_id}", tags=["catalogue"], status_code=204)
def delete_image(app: App, product_id: str, image_id: UUID) -> None:
    """Deletes one picture of a product."""
    app.catalogue.delete_image(product_id, image_id)


@router.delete("/v1/products/{product_id:path}", tags=["catalogue"], status_code=204)
def delete_product(app: App, product_id: str) -> None:
    """Deletes a product and its pictures."""
    app.catalogue.delete(product_id)


@router.post(
    "/v1/products/{product_id:path}/images", tags=["catalogue"], status_code=201, openapi_extra=_multipart(_PICTURE)
)
async def add_image(app: App, product_id: str, request: Request) -> ImageOut:
    """Adds a picture, sent as the multipart part `image`. The same bytes again are the same picture."""
    async with request.form(max_files=2, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form:
        data = await _part(form, _PICTURE)
    return ImageOut.of(await run_in_threadpool(app.catalogue.add_image, product_id, data))


@router.get("/v1/images/{image_id}", tags=["catalogue"], response_class=_Jpeg)
def get_picture(app: App, image_id: UUID, size: Literal["full", "thumb"] = "full") -> Response:
    """A picture as JPEG; it never changes."""
    data = app.catalogue.picture(image_id, thumbnail=size == "thumb")
    return _Jpeg(data, headers=_PICTURE_HEADERS)


@router.post("/v1/search/image", tags=["search"], openapi_extra=_multipart(_SEARCH_FORM))
async def search_by_image(app: App, request: Request) -> AnswerOut:
    """Products that look like the photo in the multipart part `image`.

    Other parts: `limit`, `offset`, `filter` as JSON, and `facets`, parted by commas.
    """
    async with request.form(max_files=2, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form:
        data = await _part(form, _SEARCH_FORM)
        query = SearchQuery(
            _clauses(_field(form, "filter")),
            limit=_integer(form, "limit", 10),
            offset=_integer(form, "offset", 0),
            facets=_names(_field(form, "facets")),
        )
    return AnswerOut.of(await run_in_threadpool(app.search.by_photo, data, query), uuid4().hex)


@router.post("/v1/search", tags=["search"])
def search(app: App, body: SearchIn) -> AnswerOut:
    """Products that match a picture, words, or a product."""
    subject = body.queries[0]
    query = SearchQuery(parse_filter(body.filter), limit=body.limit, offset=body.offset, facets=tuple(body.facets))
    if subject.text is not None:
        answer = app.search.by_text(subject.text, query)
    elif subject.product_id is not None:
        answer = app.search.like_product(subject.product_id, query)
    elif subject.image is not None and subject.image.id is not None:
        answer = app.search.like_image(subject.image.id, query)
    else:
        assert subject.image is not None
        answer = app.search.by_photo(_decoded(subject.image.base64 or ""), query)
    return AnswerOut.of(answer, uuid4().hex)


@router.get("/v1/spaces", tags=["spaces"])
def list_spaces(app: App) -> SpacesOut:
    """Every space, and the models whose spaces are to come."""
    return SpacesOut(
        spaces=[SpaceDetailOut.of(state) for state in app.spaces.states()],
        arriving=[ArrivingOut(model=model, error=error) for model, error in app.arriving().items()],
    )


@router.post("/v1/spaces", tags=["spaces"], status_code=202)
def add_space(app: App, body: SpaceIn) -> SpacesOut:
    """Begins a space for another model, which is downloaded if need be and filled beside the one that answers."""
    app.ask_for_space(body.model)
    return list_spaces(app)


@router.post("/v1/spaces/{key:path}/activate", tags=["spaces"])
def activate_space(app: App, key: str) -> ActivatedOut:
    """Lets a space answer from now on; 409 while images lack their vector there."""
    return ActivatedOut(key=app.spaces.activate(key).key)


@router.post("/v1/spaces/{key:path}/rollback", tags=["spaces"])
def roll_back_space(app: App, key: str) -> ActivatedOut:
    """Leaves this space, which must be the one that answers: the one that answered before it answers again."""
    return ActivatedOut(key=app.spaces.rollback(key).key)


@router.get("/v1/stats", tags=["operation"])
def stats(app: App) -> StatsOut:
    """What the catalogue holds and what answers."""
    products, images = app.catalogue.totals()
    answering = app.spaces.answering()
    return StatsOut(
        products=products,
        images=images,
        categories=[CategoryOut(name=name, count=count) for name, count in app.catalogue.categories()],
        spaces=[
            SpaceOut(key=state.space.key, role=state.space.role, vectors=state.vectors, missing=state.missing)
            for state in app.spaces.states()
        ],
        answers_from=answering.space.key,
        degraded_reason=answering.degraded_reason,
    )


@router.get("/health", tags=["operation"])
def health(app: App) -> HealthOut:
    """What works."""
    state = app.clip.state if app.clip is not None else None
    clip = ClipOut(status=state.status, since=state.since) if state else ClipOut(status="in_process", since=None)
    try:
        answering = app.spaces.answering()
    except DatabaseUnavailable:
        return HealthOut(status="down", database="down", answers_from=None, degraded_reason=None, clip=clip)
    reason = answering.degraded_reason
    return HealthOut(
        status="degraded" if reason else "ok",
        database="ok",
        answers_from=answering.space.key,
        degraded_reason=reason,
        clip=clip,
    )


@router.get("/metrics", tags=["operation"], response_class=Response)
def metrics(app: App) -> Response:
    """Metrics for Prometheus."""
    return exposition(app.metrics.registry)


@router.get("/health/live", tags=["operation"])
async def live() -> dict[str, str]:
    """Answers while the process runs."""
    return {"status": "ok"}


@router.get("/health/ready", tags=["operation"], response_model=dict[str, str])
def ready(app: App) -> Any:
    """Answers 200 while searches can be answered."""
    try:
        app.spaces.answering()
    except SeesameError as error:
        return problem(503, error.code, str(error))
    return {"status": "ok"}


async def _part(form: FormData, known: Mapping[str, Any]) -> bytes:
    names = [name for name, _ in form.multi_items()]
    for name in names:
        if name not in known or names.count(name) > 1:
            raise InvalidInput(name[:100], f"Parts, each once: {', '.join(known)}.")
    parts = form.getlist("image")
    if len(parts) != 1 or not isinstance(parts[0], Part):
        raise InvalidInput("image", "One picture is needed, as a file in the part `image`.")
    return await parts[0].read()


def _field(form: FormData, name: str) -> str | None:
    value = form.get(name)
    if isinstance(value, Part):
        raise InvalidInput(name, "A value, not a file.")
    return value


def _integer(form: FormData, name: str, default: int) -> int:
    text = _field(form, name)
    if text is None:
        return default
    if not text.isascii() or not text.removeprefix("-").isdecimal() or len(text) > 12:
        raise InvalidInput(name, "A whole number.")
    return int(text)


def _names(written: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in written.split(",")) if written else ()


def _clauses(written: str | None) -> tuple[Clause, ...]:
    if not written:
        return ()
    try:
        parsed = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("filter", "Not valid JSON.") from error
    if not isinstance(parsed, dict):
        raise InvalidInput("filter", "A JSON object.")
    return parse_filter(parsed)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("queries.0.image.base64", "Not valid base64.") from error
