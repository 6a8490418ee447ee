"""The ASGI application, assembled from an open `Application`."""

from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.staticfiles import StaticFiles
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from seesame import __version__
from seesame.api import admin, duplicates, failures, images, imports, pages, routes, search
from seesame.application import Application
from seesame.http import problems
from seesame.http.cross_origin import SharedSearch
from seesame.http.metrics import RequestMetrics
from seesame.http.middleware import BodyLimits, HeadAsGet, RequestMiddleware
from seesame.http.own_pages import OwnPages

_ENVELOPE_BYTES = 64 * 1024  # what multipart or JSON puts around a picture
_SEARCHES = r"/|/v1/search(/.*)?"
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
    max_body_bytes = settings.max_upload_bytes * 4 // 3 + _ENVELOPE_BYTES
    app.add_middleware(OwnPages, harmless=_SEARCHES)
    app.add_middleware(RequestMiddleware, max_body_bytes=max_body_bytes, files=files)
    app.add_middleware(SharedSearch, origins=lambda: application.live.origins)
    app.add_middleware(RequestMetrics, registry=application.metrics.registry)
    if application.tracing is not None:
        app.add_middleware(application.tracing.requests)
    app.add_middleware(HeadAsGet)

    static = _Revalidated(directory=Path(str(resources.files("seesame").joinpath("web", "static"))))
    app.mount("/static", static, name="static")
    app.include_router(pages.router)
    if settings.admin_pages:
        app.include_router(admin.router)

    async def widget(scope: Scope, receive: Receive, send: Send) -> None:
        response = await static.get_response("widget.js", scope)
        response.headers.update(_WIDGET_HEADERS)
        await response(scope, receive, send)

    app.routes.append(Route("/widget.js", GZipMiddleware(widget), methods=["GET"], include_in_schema=False))
    return app


def describe() -> dict[str, Any]:
    """The OpenAPI description."""
    return _described().openapi()


def _described() -> FastAPI:
    app = problems.Described(
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
