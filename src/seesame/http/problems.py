"""Errors as `application/problem+json` (RFC 9457). One table says which status an error of ours has."""

import logging
import math
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from python_multipart.exceptions import FormParserError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Mount

from seesame import errors
from seesame.http.probes import HEALTH
from seesame.logs import request_id
from seesame.types import Scope

_log = logging.getLogger(__name__)

_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}

STATUS: dict[type[errors.SeesameError], int] = {
    errors.UnsupportedFormat: 415,
    errors.ImageTooLarge: 413,
    errors.ImageUndecodable: 422,
    errors.UnsupportedFile: 415,
    errors.InvalidInput: 422,
    errors.FetchFailed: 422,
    errors.UrlNotAllowed: 400,
    errors.NotFound: 404,
    errors.ModelNotFound: 422,
    errors.SpaceConflict: 409,
    errors.DatabaseUnavailable: 503,
    errors.EmbedderBusy: 429,
    errors.JobsFull: 429,
    errors.EmbedderUnavailable: 503,
    errors.StorageFull: 507,
}

RETRY_AFTER_S = 2


class FieldOut(BaseModel):
    """A field that is wrong."""

    field: str
    message: str


class ProblemOut(BaseModel):
    """An error. `code` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: list[FieldOut] = []


_DESCRIBED = {
    400: "The request cannot be read.",
    404: "There is no such thing.",
    409: "Not possible as things are.",
    413: "The request or its picture is too large.",
    415: "The body is encoded, or of a kind that is not accepted.",
    422: "Values that are not allowed; `errors` says which.",
    429: "Too much is waiting. `Retry-After` says when to come again.",
    503: "Not possible now, for a fault that may pass. `Retry-After` says when to come again.",
    507: "There is no room left.",
}


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The description of problems that an operation has beside those that all of its kind have."""
    return {status: {"description": _DESCRIBED[status], "model": ProblemOut} for status in statuses}


_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "`X-API-Key: KEY` does as well. A process that its own machine alone can ask needs none.",
}


class Described(FastAPI):
    """An application whose description has the problems and the keys that follow from what an operation takes."""

    def __init__(self, *, needed: Callable[[str, str], Scope | None], **options: Any) -> None:
        """`needed`: the scope that a method and a path ask for, where keys are asked for; None: they need no key."""
        refused = {"description": "The request was refused before it got there.", "model": ProblemOut}
        super().__init__(responses={"4XX": refused}, **options)
        self._needed = needed

    def openapi(self) -> dict[str, Any]:
        """The description."""
        if self.openapi_schema is None:
            described = super().openapi()
            described["components"]["securitySchemes"] = {"key": _KEY}
            for path, operations in described["paths"].items():
                for method, operation in operations.items():
                    _describe_problems(path, operation)
                    if (scope := self._needed(method.upper(), path)) is not None:
                        operation["security"] = [{"key": [scope]}, {}]
        return super().openapi()


def _describe_problems(path: str, operation: dict[str, Any]) -> None:
    body = "requestBody" in operation
    where = {parameter["in"] for parameter in operation.get("parameters", ())}
    follow = {422: body or bool(where), 404: "path" in where, 503: path not in HEALTH}
    follow |= dict.fromkeys((400, 413, 415, 507), body)
    responses = operation["responses"]
    for status, follows in follow.items():
        if follows:
            responses.setdefault(str(status), {"description": _DESCRIBED[status], "content": _CONTENT})
    for status, response in responses.items():
        content = response.get("content", {})
        if status[0] in "45" and "application/json" in content:
            content["application/problem+json"] = content.pop("application/json")
    operation["responses"] = dict(sorted(responses.items()))


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    fields: list[dict[str, str]] | None = None,
    retry_after_s: float = RETRY_AFTER_S,
) -> JSONResponse:
    """A reply that tells an error; where trying again helps (429 and 503), also when to."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": request_id.get(),
    }
    if fields:
        # A name that was sent may hold half a surrogate pair, which no reply can.
        body["errors"] = [{k: v.encode("utf-8", "replace").decode() for k, v in field.items()} for field in fields]
    headers = {"Retry-After": str(max(1, math.ceil(retry_after_s)))} if status in (429, 503) else {}
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Makes every error of the application a problem.

    The handlers are coroutines, since Starlette runs functions in a thread.
    """
    app.add_exception_handler(errors.SeesameError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for cut_off in (ClientDisconnect, FormParserError):
        app.add_exception_handler(cut_off, _cut_off)


def status_of(error: errors.SeesameError) -> int:
    """The status of a reply that tells this error."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def reply_to(error: errors.SeesameError) -> JSONResponse:
    """The problem that an error of ours is."""
    status = status_of(error)
    if status == 500:
        return unexpected(error)
    fields = [{"field": error.field, "message": str(error)}] if isinstance(error, errors.InvalidInput) else None
    retry_after_s = error.retry_after_s if isinstance(error, errors.EmbedderBusy | errors.JobsFull) else RETRY_AFTER_S
    return problem(status, error.code, str(error), fields=fields, retry_after_s=retry_after_s)


async def _ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.SeesameError)
    return reply_to(error)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # The input is not echoed: it may hold NaN, half a surrogate pair or megabytes.
    fields = [
        {"field": ".".join(str(part) for part in fault["loc"][1:])[:200], "message": str(fault["msg"])[:200]}
        for fault in error.errors()[:20]
    ]
    return problem(422, "invalid_input", "The request holds values that are not allowed.", fields=fields)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = {404: "not_found", 413: "request_too_large"}.get(status, status.phrase.lower().replace(" ", "_"))
    reply = problem(status, code, f"{status.phrase}.")
    reply.headers.update(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        reply.headers["Allow"] = ", ".join(_methods(request)) or "GET"  # static files are no route
    return reply


def _methods(request: Request) -> Iterator[str]:
    """The methods of all routes to this path; the router names those of the first."""
    routes = [route for route in request.app.router.routes if not isinstance(route, Mount)]
    for method in ("DELETE", "GET", "PATCH", "POST", "PUT"):
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes):
            yield method


async def _cut_off(_: Request, __: Exception) -> JSONResponse:
    """A body that ends in the middle or has no end: not all releases of Starlette tell it as an HTTP error."""
    return problem(400, "bad_request", "The request was cut off.")


def unexpected(error: Exception) -> JSONResponse:
    """The reply to a fault of ours; the log alone gets its details."""
    _log.error("Unexpected error", exc_info=error)
    return problem(500, "internal_error", "Something went wrong here; the log has the details.")
