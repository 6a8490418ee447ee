"""The shopper's page, whole and without a script: what is asked for, and the products that answer it."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from seesame.api.cursors import place_of, token_of
from seesame.api.forms import read_form
from seesame.api.parameters import App
from seesame.api.schemas import ListingOut
from seesame.api.search_schemas import AnswerOut
from seesame.application import Application
from seesame.errors import InvalidInput, NotFound, SeesameError
from seesame.http.problems import status_of
from seesame.queries import Cursor, Photo, Query
from seesame.web import words
from seesame.web.choices import fields_of, label_of
from seesame.web.templating import environment
from seesame.web.wish import Wish

router = APIRouter(include_in_schema=False)

_PAGE_SIZE = 24
_MAX_FIELDS = 200  # of a form: each value that is chosen is one
_HEADERS = {"Cache-Control": "private, no-cache"}  # what somebody looked for is for no shared cache

Pairs = Sequence[tuple[str, str]]


@router.get("/")
def page(app: App, request: Request) -> HTMLResponse:
    """The start, or what the address asks for."""
    return _answered(app, request.query_params.multi_items(), None)


@router.post("/")
async def page_of_photo(app: App, request: Request) -> HTMLResponse:
    """What a form asks for, with a photo as its part `image` or with that of an earlier search."""
    async with read_form(request, max_fields=_MAX_FIELDS) as form:
        pairs = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        if len(form.getlist("image")) > 1:
            raise InvalidInput("image", "One picture is enough.")
        sent = form.get("image")
        data = await sent.read() if isinstance(sent, UploadFile) else b""
    return await run_in_threadpool(_answered, app, pairs, Photo(data) if data else None)


def _answered(app: Application, pairs: Pairs, photo: Photo | None) -> HTMLResponse:
    shown: dict[str, Any] = {"wish": Wish(), "photo": None, "products": {}, "fields": [], "answer": None, "total": None}
    shown |= {"hits": [], "next": None, "notice": None, "reasons": words.REASONS, "has_photo": photo is not None}
    status = 200
    try:
        wish = shown["wish"] = Wish.parse(pairs, has_photo=photo is not None)
        shown |= {"photo": wish.photo, "has_photo": photo is not None or wish.photo is not None}
        shown["fields"] = fields_of(app.facets.counts(wish.clauses), wish.chosen)
        shown["products"] = _named(app, wish)
        shown |= _found(app, wish, photo)
    except SeesameError as error:
        status = status_of(error)
        if status == 500:
            raise
        shown["notice"] = words.problem(status, error.code, str(error))
    return HTMLResponse(_TEMPLATES.get_template("page.html").render(shown), status, headers=_HEADERS)


def _found(app: Application, wish: Wish, photo: Photo | None) -> dict[str, Any]:
    parts = wish.parts(photo)
    if not parts:
        return _listed(app, wish)
    cursor = Cursor.parse(wish.cursor) if wish.cursor is not None else None
    answer = AnswerOut.of(app.search.find(parts, Query(wish.clauses, limit=_PAGE_SIZE, cursor=cursor))).model_dump()
    nothing = words.NO_MATCH_FILTERED if wish.filters else words.NO_MATCH
    return {
        "answer": answer,
        "photo": answer["image_id"],
        "hits": answer["results"],
        "next": answer["next"],
        "notice": None if answer["results"] else nothing,
    }


def _listed(app: Application, wish: Wish) -> dict[str, Any]:
    """The catalogue, the newest products first."""
    after = None if wish.cursor is None else place_of(wish.cursor)
    listings, total, following = app.catalogue.list(wish.clauses, limit=_PAGE_SIZE, after=after)
    products = [ListingOut.of(listing).model_dump() for listing in listings]
    return {
        "hits": [{"product": p, "image": next(iter(p["images"]), None), "similarity": None} for p in products],
        "total": total,
        "next": None if following is None else token_of(following),
        "notice": None if products else words.NO_MATCH_FILTERED if wish.filters else words.EMPTY,
    }


def _named(app: Application, wish: Wish) -> dict[str, dict[str, Any]]:
    """The products that others are to be like or unlike, by id; without those that are gone, which the search tells."""
    found = {}
    for product_id in (*wish.similar, *wish.less):
        try:
            found[product_id] = ListingOut.of(app.catalogue.get(product_id)).model_dump()
        except NotFound:
            continue
    return found


_TEMPLATES = environment(label=label_of)
