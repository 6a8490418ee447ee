"""What every request passes: an id, the limit of its body, headers of its reply."""

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seesame.api.problems import problem, unexpected
from seesame.logs import request_id

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}


class RequestMiddleware:
    """Gives the request its id and refuses a body over the limit as its bytes arrive."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

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
            reply = _with_headers(send, current)
            length = headers.get("content-length", "0")
            if headers.get("content-encoding", "identity") != "identity":
                await problem(415, "unsupported_encoding", "Send the body unencoded.")(scope, receive, reply)
            elif length.isdecimal() and int(length[:20]) > self._max_body_bytes:
                await problem(413, "request_too_large", "The request is too large.")(scope, receive, reply)
            elif any(character in scope["path"] for character in "\r\n"):
                # The router would take the id before the line's end for the whole.
                await problem(404, "not_found", "Not Found.")(scope, receive, reply)
            else:
                await self._guarded(scope, self._counted(receive), reply)
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
            await self._app(scope, receive, watched)
        except Exception as error:
            if began:
                raise
            await unexpected(error)(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        left = self._max_body_bytes

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413)
            return message

        return counted


def _with_headers(send: Send, current: str) -> Send:
    async def reply(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = current
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return reply
