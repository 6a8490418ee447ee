"""Which pages of other origins may use the API from a browser, and for what: to search, and nothing else."""

import re
from collections.abc import Callable
from functools import lru_cache

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_SHARED = re.compile(r"/v1/search(/.*)?|/v1/products/.+/similar|/v1/images/[^/]+")


class SharedSearch:
    """Lets pages of these origins (`*`: of all) search and read answers and their pictures, without cookies.

    It stands before what refuses a request, so that a page can read why.
    """

    def __init__(self, app: ASGIApp, *, origins: Callable[[], frozenset[str]]) -> None:
        """`origins` is asked at each request, since they may change."""
        self._app = app
        self._origins = origins
        self._sharing = lru_cache(1)(self._shared_with)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        shared = scope["type"] == "http" and _SHARED.fullmatch(scope["path"])
        origins = self._origins() if shared else None
        await (self._sharing(origins) if origins else self._app)(scope, receive, send)

    def _shared_with(self, origins: frozenset[str]) -> ASGIApp:
        return CORSMiddleware(
            self._app,
            allow_origins=origins,
            allow_methods=("GET", "POST"),  # not PUT or DELETE: a product may be called `a/similar`
            allow_headers=("X-Request-ID",),
            expose_headers=("X-Request-ID", "Retry-After"),
        )
