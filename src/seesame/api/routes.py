"""The catalogue, the spaces and the operation: parse, call one service, shape the reply."""

from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from seesame.api.forms import PICTURE, multipart, picture_of, read_form
from seesame.api.parameters import App, Clauses
from seesame.api.schemas import (
    ActivatedOut,
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
    SpaceDetailOut,
    SpaceIn,
    SpaceOut,
    SpacesOut,
    StatsOut,
)
from seesame.errors import DatabaseUnavailable, SeesameError
from seesame.http.metrics import exposition
from seesame.http.problems import problem

router = APIRouter()


class _Jpeg(Response):
    media_type = "image/jpeg"


_PICTURE_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "cross-origin",  # for the widget in a page that is isolated from other origins
}


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
    "/v1/products/{product_id:path}/images", tags=["catalogue"], status_code=201, openapi_extra=multipart(PICTURE)
)
async def add_image(app: App, product_id: str, request: Request) -> ImageOut:
    """Adds a picture, sent as the multipart part `image`. The same bytes again are the same picture."""
    async with read_form(request) as form:
        data = await picture_of(form, PICTURE)
    return ImageOut.of(await run_in_threadpool(app.catalogue.add_image, product_id, data))


@router.get("/v1/images/{image_id}", tags=["catalogue"], response_class=_Jpeg)
def get_picture(app: App, image_id: UUID, size: Literal["full", "thumb"] = "full") -> Response:
    """A picture as JPEG; it never changes."""
    data = app.catalogue.picture(image_id, thumbnail=size == "thumb")
    return _Jpeg(data, headers=_PICTURE_HEADERS)


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
