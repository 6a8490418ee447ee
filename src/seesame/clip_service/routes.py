"""The endpoints: take the bytes, wait for the vectors, shape the reply. All computing is done elsewhere."""

import asyncio
import json
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse

from seesame.clip_service import uploads
from seesame.clip_service.engine import Engine
from seesame.clip_service.schemas import (
    BINARY,
    MAX_BATCH,
    DownloadOut,
    FeaturesOut,
    HealthOut,
    QueueOut,
    ResultsOut,
    TextsIn,
)
from seesame.errors import EmbedderUnavailable, InvalidInput, ModelInvalid, SeesameError
from seesame.http.metrics import exposition
from seesame.http.problems import described, problem
from seesame.models.image_model import ImageModel
from seesame.types import Vector

router = APIRouter()

ONE_PICTURE = "/extract-features"
_MAX_TEXTS_BYTES = 512 * 1024  # 32 texts of 1,000 characters, each written as two escapes, are less

_FILE = {"type": "string", "format": "binary"}
_ONE = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"image": _FILE}, "required": ["image"]},
            },
            "application/octet-stream": {"schema": _FILE},
        },
    }
}
_MANY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"images": {"type": "array", "items": _FILE, "minItems": 1, "maxItems": MAX_BATCH}},
                    "required": ["images"],
                },
            }
        },
    }
}
_TEXTS = {"requestBody": {"required": True, "content": {"application/json": {"schema": TextsIn.model_json_schema()}}}}


@router.post(
    ONE_PICTURE,
    tags=["features"],
    response_model=FeaturesOut,
    responses=described(429) | {200: {"content": BINARY}},
    openapi_extra=_ONE,
)
async def extract_features(request: Request) -> Response:
    """The vector of a picture, sent as the multipart part `image` or as the body itself.

    With `Accept: application/octet-stream` it comes as little-endian float32.
    """
    started = time.perf_counter()
    engine: Engine = request.app.state.engine
    body = await _body(request, request.app.state.max_upload_bytes)
    kind = request.headers.get("content-type", "")
    if uploads.is_multipart(kind):
        (body,) = await run_in_threadpool(uploads.pictures, body, kind, name="image", most=1)
    (result,) = await _results(request, engine.submit([body]))
    if isinstance(result, ModelInvalid):
        return problem(500, result.code, str(result))
    if isinstance(result, SeesameError):
        raise result
    return _reply(request, [result], started, one=True)


@router.post(
    "/extract-features/batch",
    tags=["features"],
    response_model=ResultsOut,
    responses=described(429) | {200: {"content": BINARY}},
    openapi_extra=_MANY,
)
async def extract_features_batch(request: Request) -> Response:
    """The vectors of up to 32 pictures, sent as multipart parts `images`; single pictures go before them.

    A picture that cannot be used has its error in its place. With `Accept: application/octet-stream` the vectors come
    as rows of little-endian float32; rows of failed pictures are NaN, and `X-Seesame-Errors` has their codes by index.
    """
    started = time.perf_counter()
    engine: Engine = request.app.state.engine
    body = await _body(request, request.app.state.max_batch_bytes)
    kind = request.headers.get("content-type", "")
    if not uploads.is_multipart(kind):
        raise HTTPException(415)
    pictures = await run_in_threadpool(uploads.pictures, body, kind, name="images", most=MAX_BATCH)
    del body
    futures = await run_in_threadpool(engine.submit_bulk, pictures)
    return _reply(request, await _results(request, futures), started)


@router.post(
    "/extract-text-features",
    tags=["features"],
    response_model=ResultsOut,
    responses=described(429) | {200: {"content": BINARY}},
    openapi_extra=_TEXTS,
)
async def extract_text_features(request: Request) -> Response:
    """The vectors of texts, in the same space as the pictures."""
    started = time.perf_counter()
    engine: Engine = request.app.state.engine
    # Not left to FastAPI, which would parse as much JSON as a batch of pictures may have bytes.
    texts = _texts(await _body(request, _MAX_TEXTS_BYTES))
    if not _model(engine).has_text:
        return problem(422, "no_text_model", "This model has no text tower.")
    return _reply(request, await _results(request, engine.submit(texts)), started)


@router.get("/health", tags=["operation"])
async def health(request: Request) -> HealthOut:
    """What the service is doing, whatever that is."""
    engine: Engine = request.app.state.engine
    identity = engine.model.identity if engine.model is not None else None
    download, load = engine.download, engine.load
    return HealthOut(
        status=engine.status,
        ready=engine.ready,
        since=engine.since,
        model=identity.model if identity else request.app.state.model_name,
        precision=request.app.state.precision,
        space=identity.key if identity else None,
        digest=identity.digest if identity else None,
        dimensions=identity.dimensions if identity else None,
        has_text=engine.model.has_text if engine.model is not None else None,
        download=DownloadOut(done_bytes=download.done, total_bytes=download.total) if download else None,
        detail=engine.detail,
        queue=QueueOut(images=load.images, bytes=load.bytes),
    )


@router.get("/health/live", tags=["operation"])
async def live() -> dict[str, str]:
    """Answers while the process runs."""
    return {"status": "ok"}


@router.get("/health/ready", tags=["operation"], response_model=dict[str, str], responses=described(503))
async def ready(request: Request) -> Any:
    """Answers 200 while real inferences succeed."""
    engine: Engine = request.app.state.engine
    if engine.ready:
        return {"status": "ok"}
    return problem(503, "draining" if engine.status == "draining" else "not_ready", f"The service is {engine.status}.")


@router.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    return exposition(request.app.state.registry)


def _model(engine: Engine) -> ImageModel:
    if engine.model is None:
        raise EmbedderUnavailable("The model is not ready.")
    return engine.model


async def _body(request: Request, most: int) -> bytes:
    """The body, refused as soon as it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413)
    if not body:
        raise InvalidInput("body", "The body is empty.")
    return bytes(body)


def _texts(body: bytes) -> list[str]:
    try:
        return TextsIn.model_validate_json(body).texts
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(faults) from error


async def _results(request: Request, futures: list[Future[Vector]]) -> list[Vector | SeesameError]:
    """Waits for the futures; cancels them when the client leaves, so that nobody computes them."""
    wrapped = [asyncio.wrap_future(future) for future in futures]
    waiting: asyncio.Future[Any] = asyncio.gather(*wrapped, return_exceptions=True)
    leaving: asyncio.Future[Any] = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait([waiting, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            request.app.state.metrics.abandoned()
            raise ClientDisconnect
        results = []
        for result in waiting.result():
            if isinstance(result, BaseException) and not isinstance(result, SeesameError):
                raise EmbedderUnavailable("The service is ending.") from result
            results.append(result)
        return results
    finally:
        leaving.cancel()
        for one in wrapped:  # not `waiting`, which would complain that nobody asks for its result
            one.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _reply(
    request: Request, results: Sequence[Vector | SeesameError], started: float, *, one: bool = False
) -> Response:
    model = _model(request.app.state.engine)
    identity = model.identity
    headers = {"X-Seesame-Digest": identity.digest}
    if "application/octet-stream" in request.headers.get("accept", ""):
        rows = np.full((len(results), identity.dimensions), np.nan, dtype="<f4")
        errors = {}
        for index, result in enumerate(results):
            if isinstance(result, SeesameError):
                errors[str(index)] = result.code
            else:
                rows[index] = result
        if errors:
            headers["X-Seesame-Errors"] = json.dumps(errors)
        return Response(rows.tobytes(), media_type="application/octet-stream", headers=headers)
    written = [
        {"error": {"code": result.code, "detail": str(result)}}
        if isinstance(result, SeesameError)
        else {"features": result.tolist()}
        for result in results
    ]
    body: dict[str, Any] = written[0] if one else {"results": written}
    facts = {
        "dimensions": identity.dimensions,
        "model": identity.model,
        "space": identity.key,
        "normalized": True,
        "took_ms": round((time.perf_counter() - started) * 1000, 1),
    }
    return JSONResponse(body | facts, headers=headers)
