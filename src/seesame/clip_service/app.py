"""The ASGI application of the CLIP service, assembled from its settings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

from seesame import __version__
from seesame.clip_service.admission import Admission
from seesame.clip_service.engine import Engine
from seesame.clip_service.metrics import ClipMetrics
from seesame.clip_service.routes import ONE_PICTURE, router
from seesame.clip_service.schemas import MAX_BATCH
from seesame.decoding.pool import open_decoder
from seesame.http import problems
from seesame.http.gate import Gate, Guard
from seesame.http.metrics import DecoderReadings, RequestMetrics, process_registry
from seesame.http.middleware import HeadAsGet, RequestMiddleware
from seesame.http.own_pages import OwnPages
from seesame.keys import FixedKey, Holder
from seesame.models import hub
from seesame.models.image_model import ImageModel
from seesame.settings import ClipSettings
from seesame.tracing import open_tracing
from seesame.types import Scope

_ENVELOPE_BYTES = 64 * 1024  # what multipart puts around a picture
_BATCH_BYTES = 64 * 2**20


def create_app(settings: ClipSettings, *, model: ImageModel | None = None) -> FastAPI:
    """The service; its model is loaded when it starts.

    `model` is used instead of the one that the settings name.
    """
    registry = process_registry()
    tracing = open_tracing("seesame-clip")
    metrics = ClipMetrics(registry)
    engine = Engine(settings, metrics, model=model)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        limits, processes, timeout_s = settings.image_limits, settings.decode_processes, settings.decode_s
        with open_decoder(limits, processes=processes, timeout_s=timeout_s) as decoder:
            registry.register(DecoderReadings(decoder))
            engine.start(decoder)
            proving = asyncio.create_task(engine.keep_proving())
            try:
                yield
            finally:
                proving.cancel()
                with suppress(asyncio.CancelledError):
                    await proving
                await asyncio.to_thread(engine.close)
                if tracing is not None:
                    await asyncio.to_thread(tracing.close)

    app = _described(lifespan)
    app.state.engine = engine
    app.state.metrics = metrics
    app.state.registry = registry
    app.state.model_name = hub.space_name(settings.model)
    app.state.precision = settings.precision
    app.state.max_upload_bytes = settings.max_upload_bytes + _ENVELOPE_BYTES
    app.state.max_batch_bytes = max(_BATCH_BYTES, settings.max_upload_bytes) + MAX_BATCH * _ENVELOPE_BYTES
    problems.install(app)
    single = next(route for route in router.routes if getattr(route, "path", "") == ONE_PICTURE)
    app.add_middleware(Admission, engine=engine, route=single)  # the last of these is the first that a request meets
    key = None if settings.clip_key is None else FixedKey(settings.clip_key.get_secret_value())

    async def holder_of(given: str) -> Holder | None:
        return None if key is None else key.holder(given)

    # Without a key it is for this machine's programs, not for pages that its browsers show.
    guard = Guard(holder_of, open_scopes=frozenset[Scope]() if key is not None else frozenset[Scope]({"admin"}))
    app.add_middleware(OwnPages, harmless="(?!)")
    app.add_middleware(Gate, guard=guard, needed=_needed, hosts=None if key is not None else settings.own_names)
    app.add_middleware(RequestMiddleware, max_body_bytes=app.state.max_batch_bytes)
    app.add_middleware(RequestMetrics, registry=registry)
    if tracing is not None:
        app.add_middleware(tracing.requests)
    app.add_middleware(HeadAsGet)
    return app


def _needed(_: str, path: str) -> Scope | None:
    return None if path in ("/health/live", "/health/ready") else "admin"


def describe() -> dict[str, Any]:
    """The OpenAPI description."""
    return _described().openapi()


def _described(lifespan: Any = None) -> FastAPI:
    app = problems.Described(
        needed=_needed,
        title="Seesame CLIP service",
        version=__version__,
        summary="Pictures and words in, unit vectors out.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.include_router(router)
    return app
