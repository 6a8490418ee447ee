"""Pictures as files."""

from pathlib import PurePath
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from seesame.api.parameters import App, ImageId
from seesame.http.revalidation import revalidated

router = APIRouter()

_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "cross-origin",  # for the widget in a page that is isolated from other origins
}


class _Jpeg(Response):
    media_type = "image/jpeg"


@router.get(
    "/v1/images/{image_id}",
    tags=["catalogue"],
    response_class=_Jpeg,
    responses={304: {"description": "The client has it already."}},
)
def get_picture(
    app: App,
    request: Request,
    image_id: ImageId,
    size: Annotated[Literal["full", "thumb"], Query(description="thumb: no side over 400 pixels.")] = "full",
) -> Response:
    """A picture as JPEG; it never changes."""
    image = app.catalogue.image(image_id)
    # A file is never written twice under one name.
    version = f"{PurePath(image.bytes_ref).stem}-{size}"
    return revalidated(
        request,
        version,
        lambda: app.catalogue.bytes_of(image, thumbnail=size == "thumb"),
        media_type="image/jpeg",
        headers=_HEADERS,
    )
