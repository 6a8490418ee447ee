"""What `seesame worker` answers over HTTP: its health and its metrics. The work is the indexer's."""

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from seesame.application import Application
from seesame.errors import SeesameError
from seesame.http.metrics import exposition
from seesame.http.middleware import RequestMiddleware
from seesame.http.problems import problem


def create_app(application: Application) -> Starlette:
    """Health and metrics of a worker."""

    def health(_: Request) -> Response:
        report = application.health.look()
        parts = {
            name: {"status": part.status, "since": part.since.isoformat(), "detail": part.detail}
            for name, part in report.parts.items()
        }
        return JSONResponse({"status": "down" if report.answering is None else "ok", "parts": parts})

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        if request.scope["state"].get("draining"):
            return problem(503, "draining", "This process is ending.")
        try:
            await run_in_threadpool(application.spaces.all)
        except SeesameError as error:
            return problem(503, error.code, str(error))
        return JSONResponse({"status": "ok"})

    async def metrics(_: Request) -> Response:
        return await run_in_threadpool(exposition, application.metrics.registry)

    paths = {"/health": health, "/health/live": live, "/health/ready": ready, "/metrics": metrics}
    app = Starlette(routes=[Route(path, endpoint) for path, endpoint in paths.items()])
    app.add_middleware(RequestMiddleware, max_body_bytes=0)
    return app
