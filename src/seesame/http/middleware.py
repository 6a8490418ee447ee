"""What every request passes: an id, the limits of its body, headers of its reply."""

import asyncio
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seesame.errors import SeesameError
from seesame.files import room
from seesame.http.probes import HEALTH
from seesame.http.problems import problem, reply_to, unexpected
from seesame.logs import request_id

BODY_S = 10
"""How long the body of a request may take to arrive, all of it."""

_MAX_COMMAS = 50_000  # of JSON: a picture in it has none, and a million values would hold up everyone else for seconds
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",  # photos are taken by the phone's own camera
}
_SECURE_HEADERS = _HEADERS | {"Strict-Transport-Security": "max-age=31536000"}  # to what came by https alone


class BodyLimits(NamedTuple):
    """How large a body may be, and how long it may take: `seconds` in all, or anew for each `every_bytes` of it."""

    max_bytes: int
    seconds: float = BODY_S
    every_bytes: float = math.inf


class RequestMiddleware:
    """Gives the request its id, refuses a body over the limits as its bytes arrive, and new work while draining."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        body_s: float = BODY_S,
        files: Mapping[str, BodyLimits] = MappingProxyType({}),
    ) -> None:
        """`files` are paths with limits of their own."""
        self._app = app
        self._limits = BodyLimits(max_body_bytes, body_s)
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        current = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        token = request_id.set(current)
        try:
            secure = scope.get("scheme") == "https"
            reply = _with_headers(send, current, _SECURE_HEADERS if secure else _HEADERS)
            limits = self._files.get(scope["path"], self._limits)
            bounded = _bounded(receive, limits)
            if headers.get("content-type", "").partition(";")[0].strip().lower().endswith(("/json", "+json")):
                bounded = _sparse(bounded)
            length = headers.get("content-length", "0")
            if headers.get("content-encoding", "identity") != "identity":
                await problem(415, "unsupported_encoding", "Send the body unencoded.")(scope, receive, reply)
            elif length.isdecimal() and int(length[:20]) > limits.max_bytes:
                await problem(413, "request_too_large", "The request is too large.")(scope, receive, reply)
            elif any(character in scope["path"] for character in "\r\n"):
                # The router would take the id before the line's end for the whole.
                await problem(404, "not_found", "Not Found.")(scope, receive, reply)
            elif scope.get("state", {}).get("draining") and scope["path"] not in HEALTH - {"/health/ready"}:
                await discard(bounded)
                await problem(503, "draining", "This process is ending.")(scope, receive, reply)
            else:
                await self._guarded(scope, bounded, reply)
        finally:
            request_id.reset(token)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a fault of ours here, inside, so that its reply has an id and headers as every other."""
        began = False

        async def watched(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            with room():  # an upload that is too large for memory waits in a file
                await self._app(scope, receive, watched)
        except Exception as error:
            if began:
                raise
            reply = reply_to(error) if isinstance(error, SeesameError) else unexpected(error)
            await reply(scope, receive, send)


def _bounded(receive: Receive, limits: BodyLimits) -> Receive:
    left = limits.max_bytes
    unpaid = limits.every_bytes
    until: float | None = None
    more = True

    async def bounded() -> Message:
        nonlocal left, unpaid, until, more
        if not more:
            return await receive()  # nothing is due but the client's end
        until = until or asyncio.get_running_loop().time() + limits.seconds
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, headers={"Connection": "close"}) from None
        received = len(message.get("body", b""))
        left -= received
        unpaid -= received
        if left < 0:
            raise HTTPException(413)
        if unpaid <= 0:
            unpaid, until = limits.every_bytes, None
        more = message.get("more_body", False)
        return message

    return bounded


def _sparse(receive: Receive) -> Receive:
    """Refuses JSON of more values than any request needs, before it is parsed."""
    left = _MAX_COMMAS

    async def sparse() -> Message:
        nonlocal left
        message = await receive()
        left -= message.get("body", b"").count(b",")
        if left < 0:
            raise HTTPException(413)
        return message

    return sparse


class HeadAsGet:
    """Answers HEAD as GET; the server leaves the body out and keeps its length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        # A copy: by the method in its own scope the server knows that no body is to be sent.
        await self._app({**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope, receive, send)


async def discard(receive: Receive) -> None:
    """Reads a body that is not needed: closed with bytes unread, a connection may lose the reply."""
    with suppress(HTTPException):
        while (await receive()).get("more_body"):
            pass


def _with_headers(send: Send, current: str, common: Mapping[str, str]) -> Send:
    async def reply(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = current
            for name, value in common.items():
                headers.setdefault(name, value)
        await send(message)

    return reply
