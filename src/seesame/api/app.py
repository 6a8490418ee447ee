"""The ASGI application, assembled from an open `Application`."""

from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from seesame import __version__
from seesame.api import routes, search
from seesame.application import Application
from seesame.http import problems
from seesame.http.metrics import RequestMetrics
from seesame.http.middleware import RequestMiddleware

_ENVELOPE_BYTES = 64 * 1024  # what multipart or JSON puts around a picture


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
    max_upload_bytes = application.settings.max_upload_bytes
    app.add_middleware(RequestMiddleware, max_body_bytes=max_upload_bytes * 4 // 3 + _ENVELOPE_BYTES)
    app.add_middleware(RequestMetrics, registry=application.metrics.registry)

    static = Path(str(resources.files("seesame").joinpath("web", "static")))
    app.mount("/static", _Revalidated(directory=static), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(static / "index.html", headers={"Cache-Control": "no-cache"})

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
        responses={"4XX": problems.DESCRIBED},
    )
    # Searches first: the path of a product may hold slashes, so it would take theirs.
    app.include_router(search.router)
    app.include_router(routes.router)
    return app
