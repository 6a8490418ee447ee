"""Replies that a client may have already: it names the version that it keeps, and one that still holds is not sent."""

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response


def revalidated(
    request: Request, etag: str, content: Callable[[], bytes], *, media_type: str, headers: Mapping[str, str]
) -> Response:
    """The content with its strong ETag, or 304 where the client has it; then `content` is not called."""
    headers = {"ETag": f'"{etag}"', **headers}
    named = ",".join(request.headers.getlist("if-none-match"))
    if {f'"{etag}"', "*"} & {tag.strip().removeprefix("W/") for tag in named.split(",")}:
        return Response(status_code=304, headers=headers)
    return Response(content(), headers=headers, media_type=media_type)
