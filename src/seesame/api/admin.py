"""The pages of those who keep the catalogue. They only show; what changes something is asked of the API by a script."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, get_args
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from seesame import failures, inventory
from seesame.api import routes
from seesame.api.duplicates import DuplicateGroupOut, PlaceholderOut
from seesame.api.failures import FailureOut
from seesame.api.imports import SHOWN_ERRORS
from seesame.api.parameters import App
from seesame.api.schemas import ImageOut, ProductOut
from seesame.application import Application
from seesame.errors import DatabaseUnavailable, SeesameError
from seesame.http.problems import status_of
from seesame.models.hub import CURATED
from seesame.queries import MAX_OFFSET
from seesame.types import DuplicateKind
from seesame.web import words
from seesame.web.templating import environment

router = APIRouter(prefix="/admin", include_in_schema=False)

_PAGE_SIZE = 24
_JOBS = 20
_GROUPS = 10
_HEADERS = {"Cache-Control": "private, no-cache"}


class _Pager:
    """Which page of a list the address asks for; anything that is none is the first."""

    def __init__(self, request: Request) -> None:
        written = request.query_params.get("page", "")
        self.number = int(written) if written.isascii() and written.isdecimal() and 0 < len(written) < 6 else 1
        self._request = request

    def offset(self, size: int) -> int:
        self.number = max(1, min(self.number, MAX_OFFSET // size))
        return (self.number - 1) * size

    def links(self, size: int, total: int) -> dict[str, Any]:
        """Addresses of the pages before and after, and where this one is."""
        first, last = (self.number - 1) * size + 1, min(self.number * size, total)
        return {
            "first": first,
            "last": last,
            "total": total,
            "before": self._address(self.number - 1) if self.number > 1 else None,
            "after": self._address(self.number + 1) if last < total and self.number < MAX_OFFSET // size else None,
        }

    def _address(self, number: int) -> str:
        return f"?{self._request.url.include_query_params(page=number).query}"


Pager = Annotated[_Pager, Depends(_Pager)]


@router.get("")
def catalogue(app: App, pager: Pager, q: str = "") -> HTMLResponse:
    """Products, the newest first, with their pictures and whether searches find them."""

    def shown() -> dict[str, Any]:
        offset = pager.offset(_PAGE_SIZE)
        stock, total = inventory.page(
            app.database, q.strip() or None, primary=app.spaces.primary(), limit=_PAGE_SIZE, offset=offset
        )
        return {"stock": [_stock(s) for s in stock], "q": q.strip(), "pages": pager.links(_PAGE_SIZE, total)}

    return _page("catalogue", shown)


@router.get("/products/{product_id:path}")
def product(app: App, product_id: str) -> HTMLResponse:
    """One product with all that is known of it."""

    def shown() -> dict[str, Any]:
        listing = app.catalogue.get(product_id)
        return _stock(inventory.stock_of(app.database, listing, primary=app.spaces.primary()))

    return _page("product", shown)


@router.get("/imports")
def imports(app: App, pager: Pager) -> HTMLResponse:
    """A form for a file, and the imports of late."""

    def shown() -> dict[str, Any]:
        jobs, total = app.jobs.page(limit=_JOBS, offset=pager.offset(_JOBS))
        return {"jobs": jobs, "pages": pager.links(_JOBS, total)}

    return _page("imports", shown)


@router.get("/imports/{job_id:uuid}")
def job(app: App, job_id: UUID) -> HTMLResponse:
    """One import, with its first errors."""
    return _page("job", lambda: {"job": app.jobs.get(job_id), "errors": app.jobs.errors(job_id, limit=SHOWN_ERRORS)})


@router.get("/failures")
def failed(app: App, pager: Pager) -> HTMLResponse:
    """Pictures that got no vector, and why."""

    def shown() -> dict[str, Any]:
        found, total = failures.page(app.database, limit=_PAGE_SIZE, offset=pager.offset(_PAGE_SIZE))
        return {"failures": [FailureOut.of(f) for f in found], "pages": pager.links(_PAGE_SIZE, total)}

    return _page("failures", shown)


@router.get("/duplicates")
def duplicates(app: App, pager: Pager, kind: str = "", product_id: str | None = None) -> HTMLResponse:
    """Pictures that are the same, nearly the same or alike in different products."""
    wanted: DuplicateKind | None = next((each for each in get_args(DuplicateKind) if each == kind), None)

    def shown() -> dict[str, Any]:
        found = app.duplicates.groups(wanted, product_id=product_id, limit=_GROUPS, offset=pager.offset(_GROUPS))
        groups = [DuplicateGroupOut.of(group) for group in found.groups]
        pages = pager.links(_GROUPS, found.total)
        return {"groups": groups, "run": found.run, "kind": wanted, "product_id": product_id, "pages": pages}

    return _page("duplicates", shown)


@router.get("/placeholders")
def placeholders(app: App, pager: Pager) -> HTMLResponse:
    """Pictures that stand for many products, or show nothing."""

    def shown() -> dict[str, Any]:
        found, total, run = app.duplicates.placeholders(limit=_PAGE_SIZE, offset=pager.offset(_PAGE_SIZE))
        pages = pager.links(_PAGE_SIZE, total)
        return {"placeholders": [PlaceholderOut.of(each) for each in found], "run": run, "pages": pages}

    return _page("placeholders", shown)


@router.get("/spaces")
def spaces(app: App) -> HTMLResponse:
    """The models, how far each is, and which one answers."""
    return _page("spaces", lambda: {**_spaces(app), "curated": list(CURATED)})


@router.get("/health")
def health(app: App) -> HTMLResponse:
    """The parts, and what the catalogue holds."""
    return _page("health", lambda: {"health": routes.health(app), "counts": _counts(app), "reasons": words.REASONS})


def _spaces(app: Application) -> dict[str, Any]:
    states = app.spaces.states()
    return {"states": states, "arriving": app.arriving(), "answering": app.spaces.answering()}


def _stock(stock: inventory.Stock) -> dict[str, Any]:
    """A product as templates take it."""
    return {
        "product": ProductOut.model_validate(stock.product).model_dump(),
        "pictures": [{"state": picture, "image": ImageOut.of(picture.image)} for picture in stock.pictures],
        "found": stock.found,
        "failed": stock.failed,
    }


def _counts(app: Application) -> dict[str, Any] | None:
    """What the catalogue holds; None while the database is away."""
    try:
        return {
            "counted": app.statistics.counts(),
            "answering": app.spaces.answering(),
            "failed": failures.page(app.database, limit=1)[1],
            "jobs": app.jobs.page(limit=1)[0],
        }
    except DatabaseUnavailable:
        return None


def _page(name: str, shown: Callable[[], dict[str, Any]]) -> HTMLResponse:
    """The page of this name with what is to be shown on it, or one that says why that cannot be had."""
    status, template = 200, name
    try:
        values = shown()
    except SeesameError as error:
        status = status_of(error)
        if status == 500:
            raise
        template, values = "error", {"notice": words.problem(status, error.code, str(error))}
    html = _TEMPLATES.get_template(f"admin/{template}.html").render(values, here=name)
    return HTMLResponse(html, status, headers=_HEADERS)


def _moment(moment: datetime) -> str:
    """In the words of every language, until a script writes it as the browser's does."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _segment(text: str) -> str:
    """A text as one part of an address, whatever it holds."""
    return quote(text, safe="")


_TEMPLATES = environment(moment=_moment, segment=_segment)
