"""Keeps pages of other sites from changing anything through the browser of somebody who may.

A page of any site may send a form, or its like by `fetch`, to an address that only this browser reaches, such as
127.0.0.1. It cannot read the answer, but the shop would be changed. Browsers say where a request comes from; whatever
is no browser says nothing, and passes. The rule is that of `http.CrossOriginProtection` in Go's standard library.
"""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from seesame.http.problems import problem

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class OwnPages:
    """Refuses requests that pages of other origins make, except those that change nothing."""

    def __init__(self, app: ASGIApp, *, harmless: str) -> None:
        """`harmless`: a pattern of the paths where no method changes anything."""
        self._app = app
        self._harmless = re.compile(harmless)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if self._changes(scope) and _is_foreign(Headers(scope=scope)):
            await problem(403, "cross_origin", "A page of another site asked for this.")(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _changes(self, scope: Scope) -> bool:
        return scope["type"] == "http" and scope["method"] not in _SAFE and not self._harmless.fullmatch(scope["path"])


def _is_foreign(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    # Older browsers, and all where the address is neither https nor this machine's own, send the origin alone.
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
