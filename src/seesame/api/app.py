"""The ASGI application, assembled from an open `Application`."""

from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from seesame import __version__
from seesame.api import admin, duplicates, failures, images, imports, pages, routes, scopes, search, sign_in
from seesame.application import Application
from seesame.errors import DatabaseError, StorageFull
from seesame.http import problems
from seesame.http.cross_origin import SharedSearch
from seesame.http.gate import Gate, Guard
from seesame.http.metrics import RequestMetrics
from seesame.http.middleware import BodyLimits, HeadAsGet, RequestMiddleware
from seesame.http.own_pages import OwnPages
from seesame.keys import Holder, Keys

_ENVELOPE_BYTES = 64 * 1024  # what multipart or JSON puts around a picture
_SEARCHES = r"/|/v1/search(/.*)?"
_PAGES = r"/|/admin(/.*)?"
_WIDGET_HEADERS = {  # of a script that any shop loads with each of its pages
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "public, max-age=3600",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_LEAST_BYTES = 256 * 1024  # of a catalogue, in each ten seconds


class _Revalidated(StaticFiles):
    """Files that a browser asks for again each time (by ETag), so that it never mixes two versions."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, to be revalidated."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def create_app(application: Application) -> FastAPI:
    """The API and the web page on these services."""
    app = _described()
    app.state.application = application
    problems.install(app)
    settings = application.settings
    files = {imports.PATH: BodyLimits(settings.max_import_bytes + _ENVELOPE_BYTES, every_bytes=_LEAST_BYTES)}
    guard = app.state.guard = _guard(application)
    max_body_bytes = settings.max_upload_bytes * 4 // 3 + _ENVELOPE_BYTES
    app.add_middleware(OwnPages, harmless=_SEARCHES)
    app.add_middleware(
        Gate,
        guard=guard,
        needed=scopes.needed,
        hosts=settings.hosts,
        expects_proxies=settings.expects_proxies,
        pages=_PAGES,
        on_refused=application.metrics.refused,
    )
    app.add_middleware(RequestMiddleware, max_body_bytes=max_body_bytes, files=files | sign_in.LIMITS)
    app.add_middleware(SharedSearch, origins=lambda: application.live.origins)
    app.add_middleware(RequestMetrics, registry=application.metrics.registry)
    if application.tracing is not None:
        app.add_middleware(application.tracing.requests)
    app.add_middleware(HeadAsGet)
    if settings.proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.proxies)

    static = _Revalidated(directory=Path(str(resources.files("seesame").joinpath("web", "static"))))
    app.mount("/static", static, name="static")
    app.include_router(pages.router)
    app.include_router(sign_in.router)
    if settings.admin_pages:
        app.include_router(admin.router)

    async def widget(scope: Scope, receive: Receive, send: Send) -> None:
        response = await static.get_response("widget.js", scope)
        response.headers.update(_WIDGET_HEADERS)
        await response(scope, receive, send)

    app.routes.append(Route("/widget.js", GZipMiddleware(widget), methods=["GET"], include_in_schema=False))
    return app


def _guard(application: Application) -> Guard:
    settings, keys = application.settings, application.keys
    per_address, per_key = settings.rates
    return Guard(
        holder_of=lambda given: _holder(keys, given),
        open_scopes=settings.open_scopes,
        rates=application.rates,
        per_address=per_address,
        per_key=per_key,
    )


async def _holder(keys: Keys, given: str) -> Holder | None:
    if (holder := keys.holder(given)) is None and keys.is_news(given):
        with suppress(DatabaseError, StorageFull):
            await run_in_threadpool(keys.look)
        holder = keys.holder(given)
    return holder


def describe() -> dict[str, Any]:
    """The OpenAPI description."""
    return _described().openapi()


def _described() -> FastAPI:
    app = problems.Described(
        needed=scopes.needed,
        title="Seesame",
        version=__version__,
        summary="Visual search for a product catalogue.",
        docs_url=None,  # its page loads scripts from elsewhere, which the content policy forbids
        redoc_url=None,
    )
    # Searches first: the path of a product may hold slashes, so it would take theirs.
    for module in (search, duplicates, routes, images, imports, failures):
        app.include_router(module.router)
    return app
