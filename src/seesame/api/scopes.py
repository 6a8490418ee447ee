"""Which scope a request asks for. What is not named here is for `admin`, so a new route is closed until it is."""

import re

from seesame.types import Scope

_EVERYBODY = re.compile(
    r"GET /health/(live|ready)"
    r"|GET /(sign-in|openapi\.json|widget\.js|static(/.*)?)|POST /sign-(in|out)"
    # Pages show pictures by <img>, which sends no key. Their ids are digests of the picture, with the product's id:
    # who can tell one has the picture, or was given it by a search.
    r"|GET /v1/images/[^/]+"
)
_SEARCH = re.compile(
    r"(GET|POST) /"
    r"|POST /v1/search(/image|/regions)?"
    r"|DELETE /v1/search/images/[^/]+"  # whoever searched with a photo has it forgotten
    r"|GET /v1/products(/.+)?"  # as searches show them
)


def needed(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None: it is for everybody."""
    request = f"{method} {path}"
    if _EVERYBODY.fullmatch(request):
        return None
    return "search" if _SEARCH.fullmatch(request) else "admin"
