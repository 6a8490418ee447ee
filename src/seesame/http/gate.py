"""Who is let in: names that a server answers to, keys where they are needed, and not more often than is agreed."""

import logging
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlencode

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from seesame.http.problems import problem
from seesame.keys import Holder
from seesame.rates import Rate, Rates
from seesame.types import Scope as KeyScope

COOKIE = "seesame_key"
SIGN_IN = "/sign-in"
WRONG_KEY_COST = 10
"""As how many requests of its address one with a wrong key counts."""

_log = logging.getLogger(__name__)

_FORWARDED = ("x-forwarded-for", "x-real-ip", "forwarded")
_PORT = re.compile(r":\d*$")
_CHALLENGE = 'Bearer realm="seesame"'


@dataclass(frozen=True, slots=True)
class Guard:
    """What may be asked without a key, who has a key, and how often each may ask."""

    holder_of: Callable[[str], Awaitable[Holder | None]]
    open_scopes: frozenset[KeyScope] = frozenset()
    rates: Rates = field(default_factory=Rates)
    per_address: Rate | None = None
    per_key: Rate | None = None

    @property
    def is_idle(self) -> bool:
        """Whether everything is let in, however often."""
        return "admin" in self.open_scopes and self.per_address is self.per_key is None

    def take(self, scope: Scope, holder: Holder | None, cost: int = 1) -> tuple[Rate | None, float]:
        """Counts a request on who has its key, or else on its address: the rate that holds, and the seconds until one
        more would be in time; 0: this one is."""
        rate = self.per_address if holder is None else self.per_key
        subject = f"address:{_network(scope)}" if holder is None else f"key:{holder.key_id}"
        return rate, 0.0 if rate is None else self.rates.take(subject, rate, cost)


class Gate:
    """Refuses what is not to be let in, before any of its body is read."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        guard: Guard,
        needed: Callable[[str, str], KeyScope | None],
        hosts: Collection[str] | None = None,
        expects_proxies: bool = True,
        pages: str = "(?!)",
        on_refused: Callable[[str], None] = lambda code: None,  # noqa: ARG005
    ) -> None:
        """
        Args:
            needed: what a method and a path ask for; None: they are for everybody, under any name and at any rate.
            hosts: the names that the server answers to; None: to all.
            expects_proxies: False where all that comes is taken for this machine's; the log warns then of a proxy.
            pages: a pattern of paths from which a browser is sent to sign in; of none, by default.
            on_refused: called with the code of each refusal.
        """
        self._app = app
        self._guard = guard
        self._needed = needed
        self._hosts = hosts
        self._expects_proxies = expects_proxies
        self._pages = re.compile(pages)
        self._on_refused = on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        refusal = None
        if scope["type"] == "http" and (needed := self._needed(scope["method"], scope["path"])) is not None:
            headers = Headers(scope=scope)
            if not self._expects_proxies:
                self._look_for_proxies(headers)
            refusal = self._as_other(headers) or (
                None if self._guard.is_idle else await self._as_stranger(scope, headers, needed)
            )
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _look_for_proxies(self, headers: Headers) -> None:
        if any(name in headers for name in _FORWARDED):
            self._expects_proxies = True  # once is enough
            _log.warning(
                "⚠️ A proxy passes on requests of others, who may do everything: no key is asked for. "
                "Name the proxy in SEESAME_TRUSTED_PROXIES."
            )

    def _as_other(self, headers: Headers) -> Response | None:
        """Refuses a name that is not ours: that of a page which wants a browser to take this server for its own."""
        host = headers.get("host")
        if self._hosts is None or host is None or _PORT.sub("", host.lower()) in self._hosts:
            return None
        detail = "This server does not answer to this name. SEESAME_ALLOWED_HOSTS lists those that it answers to."
        return self._refused(421, "host_not_allowed", detail)

    async def _as_stranger(self, scope: Scope, headers: Headers, needed: KeyScope) -> Response | None:
        given = key_of(headers)
        holder = None if given is None else await self._guard.holder_of(given)
        is_allowed = needed in (self._guard.open_scopes if holder is None else self._guard.open_scopes | holder.scopes)
        is_wrong = given is not None and holder is None and not is_allowed
        rate, wait_s = self._guard.take(scope, holder, WRONG_KEY_COST if is_wrong else 1)
        if wait_s:
            return self._refused(
                429, "rate_limited", "Too many requests. Come again when `Retry-After` says.", rate=rate, wait_s=wait_s
            )
        if is_allowed:
            return None
        if self._pages.fullmatch(scope["path"]):
            self._on_refused("key_needed")
            return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': _address(scope)})}", 303)
        if holder is not None:
            reply = self._refused(403, "scope_missing", f"This key is not for this. A key with the scope {needed} is.")
            reply.headers["WWW-Authenticate"] = f'{_CHALLENGE}, error="insufficient_scope", scope="{needed}"'
        elif given is not None:
            reply = self._refused(401, "key_invalid", "This key is unknown, was revoked or is over.")
            reply.headers["WWW-Authenticate"] = f'{_CHALLENGE}, error="invalid_token"'
        else:
            reply = self._refused(401, "key_needed", "A key is needed. Send it as `Authorization: Bearer KEY`.")
            reply.headers["WWW-Authenticate"] = _CHALLENGE
        return reply

    def _refused(
        self, status: int, code: str, detail: str, *, rate: Rate | None = None, wait_s: float = 0.0
    ) -> Response:
        self._on_refused(code)
        reply = problem(status, code, detail, retry_after_s=wait_s)
        if rate is not None:
            reply.headers["RateLimit-Policy"] = f'"default";q={rate.limit};w={rate.period_s}'
            reply.headers["RateLimit"] = f'"default";r=0;t={reply.headers["Retry-After"]}'
        return reply


def key_of(headers: Headers) -> str | None:
    """The key that a request brings: in a header, or in the cookie that signing in sets."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get("x-api-key") or cookie_of(headers)


def cookie_of(headers: Headers) -> str | None:
    """The key of the cookie that signing in sets."""
    return cookie_parser(headers.get("cookie", "")).get(COOKIE) or None


def _address(scope: Scope) -> str:
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query and scope["method"] == "GET" else path


def _network(scope: Scope) -> str:
    """The client's address; of IPv6 the network of 64 bits, all of which are one client's."""
    try:
        address = ip_address(scope["client"][0].partition("%")[0])
    except (TypeError, ValueError):
        return "unknown"  # that of no peer, or what a proxy wrote in its place
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
    return str(address)
