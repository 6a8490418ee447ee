"""Signing in to the pages: a browser sends the key that it was given once with each request, as a cookie.

The cookie holds the key itself, so there is no session that could outlive it: where a key is revoked, all that signed
in with it are out. Scripts cannot read it, and pages of other sites cannot have it sent.
"""

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from seesame.http.gate import COOKIE, SIGN_IN, WRONG_KEY_COST, Guard, cookie_of
from seesame.http.middleware import BodyLimits
from seesame.keys import Holder
from seesame.web.templating import environment

router = APIRouter(include_in_schema=False)

LIMITS = {SIGN_IN: BodyLimits(16 * 1024), "/sign-out": BodyLimits(1024)}

_HEADERS = {"Cache-Control": "no-store"}
_OWN = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # an address of this server's own, whatever a browser makes of slashes
_WRONG = "This key is unknown, was revoked or is over."


@router.get(SIGN_IN)
async def form(request: Request, next: str = "/") -> HTMLResponse:  # noqa: A002 - the name in the address
    """The form; or, for who is signed in, with which key, and the way out."""
    guard: Guard = request.app.state.guard
    given = cookie_of(request.headers)
    holder = None if given is None else await guard.holder_of(given)
    return _page(guard, next, holder=holder)


@router.post(SIGN_IN)
async def sign_in(request: Request) -> Response:
    """Keeps the key in the browser, if it is one."""
    guard: Guard = request.app.state.guard
    async with request.form(max_files=0, max_fields=2) as fields:
        key, following = str(fields.get("key", "")).strip(), str(fields.get("next", "/"))
    holder = await guard.holder_of(key)
    _, wait_s = guard.take(request.scope, holder, 1 if holder else WRONG_KEY_COST)
    if wait_s:
        return _page(guard, following, 429, notice=f"Too many attempts. Come again in {wait_s:.0f} seconds.")
    if holder is None:
        return _page(guard, following, 401, notice=_WRONG)
    reply = RedirectResponse(_own(following), 303, headers=_HEADERS)
    secure = request.url.scheme == "https"
    reply.set_cookie(COOKIE, key, path="/", httponly=True, samesite="strict", secure=secure)
    return reply


@router.post("/sign-out")
def sign_out() -> Response:
    """Takes the key from the browser. It goes on to work elsewhere."""
    reply = RedirectResponse(SIGN_IN, 303, headers=_HEADERS)
    reply.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return reply


def _page(
    guard: Guard, following: str, status: int = 200, *, holder: Holder | None = None, notice: str = ""
) -> HTMLResponse:
    following = _own(following)
    wanted = "admin" if following.startswith("/admin") else "search"
    if holder is not None and wanted not in holder.scopes:
        notice = "The key that you signed in with may search, but not do this. Sign in with an admin key."
    shown: dict[str, Any] = {"next": following, "holder": holder, "notice": notice, "wanted": wanted}
    shown["is_open"] = wanted in guard.open_scopes
    return HTMLResponse(_TEMPLATES.get_template("sign_in.html").render(shown), status, headers=_HEADERS)


def _own(address: str) -> str:
    return address if _OWN.fullmatch(address) else "/"


_TEMPLATES = environment()
