"""Download a picture from a URL that a stranger chose: limited in address, bytes, time and redirects."""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import quote, urljoin

import httpcore2
import idna

from seesame.errors import FetchFailed, HostFailed, UrlNotAllowed
from seesame.outcomes import outcome_told
from seesame.types import Validators

Resolver = Callable[[str], Sequence[str]]
"""Host name to addresses as text, in the order to try them; raises OSError for an unknown host."""

OnFetch = Callable[[str, float], None]
"""Told of each fetch: `ok`, or the code of its error, and seconds."""

MAX_LOOKUPS = 16  # a lookup cannot be cancelled: when this many hang, the next fetch waits for one
MAX_DIALLED = 4  # addresses of one host that are tried
MAX_HOST_CHARS = 253
MAX_TARGET_BYTES = 8192  # path and query
MAX_OVERHEAD_BYTES = 128 * 1024  # of a reply, beside its body: headers, chunk framing, 1xx replies
TOO_SLOW = "The picture could not be fetched in time."
TOO_LARGE = "The picture is larger than the limit."
UNREACHABLE = "The host of the picture could not be reached."


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, text.split()))


# Never public, from the IANA special-purpose registries: `is_global` alone lets multicast, 6to4 and more
# pass, and differs between Python versions.
_SPECIAL = _networks(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
    "168.63.129.16/32 "  # in no registry: a service of Azure that answers its own machines only
    "2001::/23 2002::/16 "  # with Teredo and 6to4, whose packets end at an IPv4 address
    "2001:db8::/32 3ffe::/16 3fff::/20"
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all else is mapped, local, multicast or unassigned
_NAT64 = IPv6Network("64:ff9b::/96")
_PRIVATE = _networks("10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.168.0.0/16 ::1/128 fc00::/7")
# Where clouds hand out credentials inside those ranges (169.254.169.254 is in none of them).
_METADATA = _networks("100.100.100.200 fd00:ec2::254 fd20:ce::254")

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]|%0[0ad]", re.IGNORECASE)
_URL = re.compile(
    r"([A-Za-z]+)://"
    r"(\[[0-9A-Fa-f:.]+\]|[^/?#@:\[\]]+)(?::([1-9][0-9]{0,4}))?"
    r"((?:[/?][^#]*)?)"
    r"(?:#[^@]*)?"  # an @ here hopes for a parser that takes all before it for user info
)
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_VALIDATOR = re.compile(rb"[\x21-\x7e][\x20-\x7e]{0,255}")
_WEB_PAGE = re.compile(rb"[\s\xef\xbb\xbf]*<(?:!doctype\s+html|html|head|body|script|!--)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a URL holds, and how its host knows that again; None where it did not say, or redirected elsewhere."""

    data: bytes
    validators: Validators | None = None


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """What a fetch may cost and reach.

    `timeout_s` covers everything, redirects included. `allowed_hosts` are names (`images.shop.lan`: ports 80
    and 443) or name and port (`minio:9000`: that port) that a shop trusts even where they resolve to private
    addresses.
    """

    max_bytes: int = 10 * 1024 * 1024
    timeout_s: float = 5.0
    max_redirects: int = 3
    allowed_hosts: frozenset[str] = frozenset()

    def trusted_origins(self) -> frozenset[tuple[str, int]]:
        """Host and port pairs that `allowed_hosts` stands for. Raises ValueError for an entry that is neither."""
        return frozenset(origin for entry in self.allowed_hosts for origin in _origins(entry))


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address, and any IPv4 address that it stands for, belongs to the public Internet."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:  # on some IPv6-only networks every IPv4 host looks like this
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not _within(address, _SPECIAL)


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    """Whether a trusted name may lead there: never to link-local, multicast or metadata addresses."""
    return not _within(address, _METADATA) and _within(address, _PRIVATE)


def _within(address: IPv4Address | IPv6Address, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    return any(address in network for network in networks)


def system_resolver(host: str) -> Sequence[str]:
    """Ask the system; raises OSError for an unknown host."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class Fetcher:
    """Downloads pictures. Safe to call from several threads; keeps neither connections nor cookies.

    `tls` replaces the system's certificate authorities. Raises ValueError for an `allowed_hosts` entry that
    is neither a host name nor host:port.
    """

    def __init__(
        self,
        policy: FetchPolicy = FetchPolicy(),
        *,
        resolver: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
        on_fetch: OnFetch = lambda outcome, seconds: None,  # noqa: ARG005 - nobody measures
    ) -> None:
        self._policy = policy
        self._on_fetch = on_fetch
        self._resolver = resolver
        self._tls = httpcore2.default_ssl_context() if tls is None else tls
        self._trusted = policy.trusted_origins()
        self._lookups = threading.BoundedSemaphore(MAX_LOOKUPS)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Start no fetch any more; those under way end by their deadline."""
        self._closed = True

    def trust(self, hosts: frozenset[str]) -> None:
        """Replaces `allowed_hosts` from the next fetch on. Raises ValueError as the constructor does."""
        self._trusted = replace(self._policy, allowed_hosts=hosts).trusted_origins()

    def fetch(self, url: str) -> bytes:
        """What the URL holds, at most `max_bytes`; raises UrlNotAllowed or FetchFailed."""
        fetched = self.fetch_changed(url)
        assert fetched is not None  # nothing was known
        return fetched.data

    def fetch_changed(self, url: str, known: Validators | None = None) -> Fetched | None:
        """What the URL holds, as `fetch`, or None: still that which came with these validators.

        They are asked with at the URL alone, not where it redirects to: there they could name something else.
        """
        if self._closed:
            raise RuntimeError("The fetcher is closed.")
        with outcome_told(self._on_fetch):
            return self._followed(url, known)

    def _followed(self, url: str, known: Validators | None) -> Fetched | None:
        """What is where the redirects end."""
        deadline = _Deadline(self._policy.timeout_s)
        place = _parse(url)
        for hop in range(self._policy.max_redirects + 1):
            try:
                reply = self._get(place, deadline, known if hop == 0 else None)
            except httpcore2.TimeoutException as error:
                raise HostFailed(TOO_SLOW) from error
            except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
                raise HostFailed("The connection to the picture's host, or its reply, broke.") from error
            if not isinstance(reply, _Place):
                return reply if hop == 0 or reply is None else Fetched(reply.data)
            place = reply
        raise FetchFailed("The URL redirects too often.")

    def _get(self, place: "_Place", deadline: "_Deadline", known: Validators | None) -> "Fetched | _Place | None":
        """One request: the body, where it redirects to, or None for what is known."""
        url = httpcore2.URL(scheme=place.scheme, host=place.host, port=place.port, target=place.target)
        headers = [
            ("Host", place.authority),
            ("User-Agent", "seesame"),
            ("Accept", "image/*, */*;q=0.5"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        if known is not None:
            asked = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
            headers += [(name, value) for name, value in asked.items() if value is not None]
        stream = self._connect(place, deadline)
        with httpcore2.HTTP11Connection(url.origin, stream) as connection:
            response = connection.handle_request(httpcore2.Request("GET", url, headers=headers))
            fields = {name.lower(): value for name, value in response.headers}
            if response.status in (301, 302, 303, 307, 308):
                return place.redirected(fields.get(b"location", b""))
            if response.status == 304 and known is not None:
                return None
            if response.status != 200:
                raise FetchFailed("The host of the picture did not answer with success.")
            if fields.get(b"content-encoding", b"").lower() not in (b"", b"identity"):
                raise FetchFailed("The host of the picture answered with a compressed body.")
            if int(fields.get(b"content-length", b"0")) > self._policy.max_bytes:
                raise FetchFailed(TOO_LARGE)
            return Fetched(self._body(response, stream), _validators(fields))

    def _body(self, response: httpcore2.Response, stream: "_GuardedStream") -> bytes:
        body = bytearray()
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > self._policy.max_bytes:
                raise FetchFailed(TOO_LARGE)
            stream.overhead_left += len(chunk)  # it was counted when read
        if _WEB_PAGE.match(body):
            raise FetchFailed("The URL leads to a web page, not to a picture.")
        return bytes(body)

    def _connect(self, place: "_Place", deadline: "_Deadline") -> "_GuardedStream":
        """Dial one of the addresses that were checked: no second lookup can differ from the first."""
        addresses = self._addresses(place, deadline)[:MAX_DIALLED]
        for tries_left in range(len(addresses), 0, -1):
            address = str(addresses[-tries_left])
            share_s = deadline.remaining_s() / tries_left  # a silent address leaves time for the others
            try:
                stream = httpcore2.SyncBackend().connect_tcp(address, place.port, share_s)
                break
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                if tries_left == 1:
                    raise HostFailed(UNREACHABLE) from error
        try:
            if place.scheme == "https":
                stream = stream.start_tls(self._tls, place.host, deadline.remaining_s())
        except httpcore2.ConnectError as error:
            raise HostFailed("No secure connection to the host of the picture could be made.") from error
        except FetchFailed:
            stream.close()
            raise
        return _GuardedStream(stream, deadline)

    def _addresses(self, place: "_Place", deadline: "_Deadline") -> list[IPv4Address | IPv6Address]:
        """What the host stands for; raises UrlNotAllowed unless this fetcher may connect to all of it."""
        trusted = (place.host, place.port) in self._trusted
        if not trusted and place.port not in (80, 443):
            raise UrlNotAllowed
        try:
            addresses = [ip_address(place.host)]
        except ValueError:
            addresses = [ip_address(text) for text in dict.fromkeys(self._lookup(place.host, deadline))]
        if not all(is_public(address) or (trusted and _is_private(address)) for address in addresses):
            raise UrlNotAllowed
        if not addresses:
            raise HostFailed(UNREACHABLE)
        return addresses

    def _lookup(self, host: str, deadline: "_Deadline") -> Sequence[str]:
        """Resolve on a daemon thread: the system's resolver has no time limit and cannot be cancelled."""
        if not self._lookups.acquire(timeout=deadline.remaining_s()):
            raise HostFailed(TOO_SLOW)
        answer: Future[Sequence[str]] = Future()

        def resolve() -> None:
            try:
                answer.set_result(self._resolver(host))
            except BaseException as error:  # noqa: BLE001  # carried to the caller
                answer.set_exception(error)
            finally:
                self._lookups.release()

        try:
            threading.Thread(target=resolve, name="fetch-lookup", daemon=True).start()
        except RuntimeError:
            self._lookups.release()
            raise
        try:
            return answer.result(deadline.remaining_s())
        except TimeoutError as error:
            raise HostFailed(TOO_SLOW) from error
        except (OSError, UnicodeError) as error:
            raise HostFailed(UNREACHABLE) from error


@dataclass(frozen=True, slots=True)
class _Place:
    """A URL, taken apart once: what was checked is what is dialled and sent."""

    scheme: str
    host: str  # an ASCII name in lower case, or a canonical address without brackets
    explicit_port: int | None
    target: str

    @property
    def port(self) -> int:
        return self.explicit_port or (443 if self.scheme == "https" else 80)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.explicit_port is None else f"{host}:{self.explicit_port}"

    def redirected(self, location: bytes) -> "_Place":
        if not location:
            raise FetchFailed("The URL redirects to nowhere.")
        try:
            reference = location.decode()
            if _FORBIDDEN.search(reference):  # before joining, which drops some of these
                raise UrlNotAllowed
            return _parse(urljoin(f"{self.scheme}://{self.authority}{self.target}", reference))
        except ValueError as error:
            raise UrlNotAllowed from error


def _validators(fields: dict[bytes, bytes]) -> Validators | None:
    """What is short and plain enough to be kept and sent back."""
    etag, last_modified = (
        value.decode() if _VALIDATOR.fullmatch(value := fields.get(name, b"")) else None
        for name in (b"etag", b"last-modified")
    )
    return Validators(etag, last_modified) if etag or last_modified else None


def _parse(url: str) -> _Place:
    """Take a URL apart, strictly: what two parsers might read differently is refused."""
    match = _URL.fullmatch(url)
    if _FORBIDDEN.search(url) or match is None:
        raise UrlNotAllowed
    scheme, host, port, target = match.groups()
    target = quote(target if target.startswith("/") else f"/{target}", safe="!$%&'()*+,/:;=?@[]~")
    if scheme.lower() not in ("http", "https") or len(target) > MAX_TARGET_BYTES:
        raise UrlNotAllowed
    try:
        return _Place(scheme.lower(), _canonical_host(host), int(port) if port else None, target)
    except ValueError as error:
        raise UrlNotAllowed from error


def _canonical_host(text: str) -> str:
    """The one spelling of a host; raises ValueError for another spelling of an address, or no host at all."""
    if len(text) > MAX_HOST_CHARS:
        raise ValueError("too long")
    if text.startswith("["):
        return str(IPv6Address(text[1:-1]))
    host = text.encode().lower().decode()  # ASCII letters alone: nothing else may turn into one
    if not host.isascii():
        encoded = idna.encode(host).decode()
        if idna.decode(encoded) != host:
            raise ValueError("not a normal form")
        host = encoded
    last_label = host.rpartition(".")[2]
    if last_label.isdigit() or last_label.startswith("0x"):
        return str(IPv4Address(host))  # refuses what resolvers would take: 127.1, 0177.0.0.1, 0x7f000001, 0
    if len(host) > MAX_HOST_CHARS or not _NAME.fullmatch(host):
        raise ValueError("not a host name")
    return host


def _origins(entry: str) -> list[tuple[str, int]]:
    """Host and port pairs that an entry of `allowed_hosts` stands for."""
    try:
        place = _parse(f"http://{entry}")
    except UrlNotAllowed:
        place = None
    if place is None or any(mark in entry for mark in "/?#"):
        raise ValueError(f"allowed_hosts: {entry!r} is neither a host name nor host:port")
    return [(place.host, port) for port in ([place.explicit_port] if place.explicit_port else [80, 443])]


class _Deadline:
    def __init__(self, timeout_s: float) -> None:
        self._at_s = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        remaining_s = self._at_s - time.monotonic()
        if remaining_s <= 0:
            raise HostFailed(TOO_SLOW)
        return remaining_s


class _GuardedStream(httpcore2.NetworkStream):
    """Holds every read and write to the deadline of the whole fetch, and bounds what is not body."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self.overhead_left = MAX_OVERHEAD_BYTES

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        if self.overhead_left < 0:  # all that was read before has been parsed, and its body credited
            raise FetchFailed("The host of the picture answered with too many headers.")
        data = self._stream.read(max_bytes, self._deadline.remaining_s())
        self.overhead_left -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, self._deadline.remaining_s())

    def close(self) -> None:
        self._stream.close()
