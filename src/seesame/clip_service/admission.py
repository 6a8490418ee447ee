"""Refuses what cannot be computed now, before anything else is done with it."""

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from seesame.clip_service.engine import Engine
from seesame.errors import EmbedderBusy, EmbedderUnavailable
from seesame.http.middleware import discard
from seesame.http.problems import reply_to


class Admission:
    """Stands before the framework, whose work with a request would be taken from the model just when it is short."""

    def __init__(self, app: ASGIApp, *, engine: Engine, route: BaseRoute) -> None:
        """`route` is that of a single picture; a batch is accepted or refused when its size is known."""
        self._app = app
        self._engine = engine
        self._route = route
        self._path: str = getattr(route, "path", "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] == "http" and scope["path"] == self._path and scope["method"] == "POST":
            try:
                self._engine.refuse_if_full()
            except (EmbedderBusy, EmbedderUnavailable) as error:
                scope["route"] = self._route  # for the metrics
                await discard(receive)
                await reply_to(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
