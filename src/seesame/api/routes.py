"""The catalogue, the spaces and the operation: parse, call one service, shape the reply."""

from hashlib import blake2b
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse

from seesame.api.cursors import place_of, token_of
from seesame.api.forms import PICTURE, body_of, multipart, picture_of, read_form
from seesame.api.parameters import App, Clauses, Cursor, ImageId, ProductId, SpaceKey
from seesame.api.schemas import (
    ActivatedOut,
    ArrivingOut,
    CategoryOut,
    HealthOut,
    ImageIn,
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
from seesame.errors import InvalidInput, SeesameError
from seesame.http.metrics import exposition
from seesame.http.problems import described, problem
from seesame.http.revalidation import revalidated

router = APIRouter()


@router.put("/v1/products/{product_id:product_id}", tags=["catalogue"], responses={201: {"model": ListingOut}})
def put_product(app: App, product_id: ProductId, body: ProductIn, response: Response) -> ListingOut:
    """Creates or replaces a product. Its pictures stay."""
    if app.catalogue.put(body.product(product_id)):
        response.status_code = 201
    return ListingOut.of(app.catalogue.get(product_id))


@router.get("/v1/products", tags=["catalogue"])
def list_products(
    app: App, clauses: Clauses, limit: Limit = 24, offset: Offset = 0, cursor: Cursor = None
) -> ProductsOut:
    """Products, the newest first.

    To walk through all of them, send the `next` of each answer as `cursor`: whatever is added or deleted meanwhile, no
    product is passed over or comes twice. With `offset` it may.
    """
    after = None if cursor is None else place_of(cursor)
    if after is not None and offset:
        raise InvalidInput("cursor", "Either a cursor or an offset.")
    listings, total, following = app.catalogue.list(clauses, limit=limit, offset=offset, after=after)
    return ProductsOut(
        products=[ListingOut.of(listing) for listing in listings],
        total=total,
        next=None if following is None else token_of(following),
    )


@router.get(
    "/v1/products/{product_id:product_id}",
    tags=["catalogue"],
    response_model=ListingOut,
    responses={304: {"description": "The client has it already."}},
)
def get_product(app: App, request: Request, product_id: ProductId) -> Response:
    """One product with its pictures."""
    body = ListingOut.of(app.catalogue.get(product_id)).model_dump_json().encode()
    version = blake2b(body, digest_size=16).hexdigest()
    return revalidated(
        request, version, lambda: body, media_type="application/json", headers={"Cache-Control": "no-cache"}
    )


@router.delete("/v1/products/{product_id:path}/images/{image_id}", tags=["catalogue"], status_code=204)
def delete_image(app: App, product_id: ProductId, image_id: ImageId) -> None:
    """Deletes one picture of a product."""
    app.catalogue.delete_image(product_id, image_id)


@router.delete("/v1/products/{product_id:product_id}", tags=["catalogue"], status_code=204)
def delete_product(app: App, product_id: ProductId) -> None:
    """Deletes a product and its pictures."""
    app.catalogue.delete(product_id)


_ADDED = multipart(PICTURE)
_ADDED["requestBody"]["content"]["application/json"] = {"schema": ImageIn.model_json_schema()}


@router.post("/v1/products/{product_id:path}/images", tags=["catalogue"], status_code=201, openapi_extra=_ADDED)
async def add_image(app: App, product_id: ProductId, request: Request) -> ImageOut:
    """Adds a picture, sent as the multipart part `image`, or named as `{"url": ".."}`, from where it is fetched.

    The same bytes again are the same picture. Other bytes from the same URL take its place.
    """
    if request.headers.get("content-type", "").lower().startswith("application/json"):
        body = body_of(ImageIn, await request.body())
        return ImageOut.of(await run_in_threadpool(app.importer.add_image, product_id, body.url))
    async with read_form(request) as form:
        data = await picture_of(form, PICTURE)
    return ImageOut.of(await run_in_threadpool(app.catalogue.add_image, product_id, data))


@router.get("/v1/spaces", tags=["spaces"])
def list_spaces(app: App) -> SpacesOut:
    """Every space, and the models whose spaces are to come."""
    return SpacesOut(
        spaces=[SpaceDetailOut.of(state) for state in app.spaces.states()],
        arriving=[ArrivingOut(model=model, error=error) for model, error in app.arriving().items()],
    )


@router.post("/v1/spaces", tags=["spaces"], status_code=202, responses=described(409))
def add_space(app: App, body: SpaceIn) -> SpacesOut:
    """Begins a space for another model, which is downloaded if need be and filled beside the one that answers."""
    app.ask_for_space(body.model)
    return list_spaces(app)


@router.post("/v1/spaces/{key:path}/activate", tags=["spaces"], responses=described(409))
def activate_space(app: App, key: SpaceKey) -> ActivatedOut:
    """Lets a space answer from now on; 409 while images lack their vector there."""
    return ActivatedOut(key=app.spaces.activate(key).key)


@router.post("/v1/spaces/{key:path}/rollback", tags=["spaces"], responses=described(409))
def roll_back_space(app: App, key: SpaceKey) -> ActivatedOut:
    """Leaves this space, which must be the one that answers: the one that answered before it answers again."""
    return ActivatedOut(key=app.spaces.rollback(key).key)


@router.get("/v1/stats", tags=["operation"])
def stats(app: App) -> StatsOut:
    """What the catalogue holds and what answers.

    Counted anew after two seconds, or more in a large catalogue: counting takes a twentieth of the time, at most.
    """
    counts = app.statistics.counts()
    answering = app.spaces.answering()
    return StatsOut(
        products=counts.products,
        images=counts.images,
        categories=[CategoryOut(name=name, count=count) for name, count in counts.categories],
        spaces=[
            SpaceOut(key=state.space.key, role=state.space.role, vectors=state.vectors, missing=state.missing)
            for state in counts.spaces
        ],
        counted_at=counts.counted_at,
        answers_from=answering.space.key,
        degraded_reason=answering.degraded_reason,
    )


@router.get("/health", tags=["operation"])
def health(app: App) -> HealthOut:
    """How each part is, and since when."""
    return HealthOut.of(app.health.look(), app.clip.state if app.clip is not None else None)


@router.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
def metrics(app: App) -> Response:
    """Metrics for Prometheus."""
    return exposition(app.metrics.registry)


@router.get("/health/live", tags=["operation"])
async def live() -> dict[str, str]:
    """Answers while the process runs."""
    return {"status": "ok"}


@router.get("/health/ready", tags=["operation"], response_model=dict[str, str], responses=described(503))
def ready(app: App) -> Any:
    """Answers 200 while searches can be answered."""
    try:
        app.spaces.answering()
    except SeesameError as error:
        return problem(503, error.code, str(error))
    return {"status": "ok"}
