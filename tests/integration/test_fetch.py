import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from ipaddress import ip_address
from itertools import chain, repeat
from typing import Any

import httpcore2
import pytest

from seesame.errors import FetchError, FetchFailed, UrlNotAllowed
from seesame.fetch import (
    MAX_LOOKUPS,
    TOO_LARGE,
    TOO_SLOW,
    UNREACHABLE,
    Fetched,
    Fetcher,
    FetchPolicy,
    Resolver,
    is_public,
)
from seesame.types import Validators
from tests.certificates import Certificate, self_signed
from tests.hostile import LOOPBACK, PRIVATE, URLS

PICTURE = b"\xff\xd8\xff\xe0 not really a picture"

_connected: list[tuple[Any, ...]] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _connected is not None:
        _connected.append(arguments[1][:2])


sys.addaudithook(_audit)


@pytest.fixture
def connected() -> Iterator[list[tuple[Any, ...]]]:
    """Every (address, port) that this process connects to, as the interpreter itself reports it."""
    global _connected
    _connected = []
    yield _connected
    _connected = None


class Site:
    """A loopback server that answers each path with raw bytes, or slowly with one chunk after another."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, bytes | Callable[[], Iterator[bytes]]] = {}
        self.requests: list[str] = []
        self.stopped = threading.Event()
        site = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    if tls is not None:
                        with tls.wrap_socket(self.request, server_side=True) as secure:
                            site.serve(secure)
                    else:
                        site.serve(self.request)
                except OSError:
                    pass  # the client went away, as it should

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = False  # so that closing waits for the handlers
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def serve(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            received = connection.recv(65536)
            if not received:
                return
            head += received
        self.requests.append(head.decode())
        page = self.pages[head.split()[1].decode()]
        for part in [page] if isinstance(page, bytes) else page():
            connection.sendall(part)

    def url(self, path: str = "/", *, scheme: str = "http") -> str:
        return f"{scheme}://shop.test:{self.port}{path}"

    def fetcher(self, resolver: Resolver = lambda _: ["127.0.0.1"], **limits: Any) -> Fetcher:
        return fetcher_for(self.port, resolver, **limits)

    def close(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.pages["/picture"] = ok(PICTURE)
    yield site
    site.close()


@cache
def authorities() -> ssl.SSLContext:
    """The system's, loaded once: that takes longer than most of these tests."""
    return httpcore2.default_ssl_context()


def fetcher_for(port: int, resolver: Resolver = lambda _: ["127.0.0.1"], **limits: Any) -> Fetcher:
    """A fetcher that trusts shop.test at one port."""
    policy = FetchPolicy(allowed_hosts=frozenset({f"shop.test:{port}"}), **limits)
    return Fetcher(policy, resolver=resolver, tls=authorities())


def ok(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [
        "HTTP/1.1 200 OK",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def moved(location: str, status: int = 302, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Moved", f"Location: {location}", "Content-Length: 0", *headers, "", ""]
    return "\r\n".join(lines).encode()


def forever(site: Site, head: bytes, part: bytes, pause_s: float = 0.0) -> Callable[[], Iterator[bytes]]:
    """A reply that goes on until the client or the test ends it."""

    def parts() -> Iterator[bytes]:
        yield head
        for part_again in repeat(part):
            if site.stopped.wait(pause_s) if pause_s else site.stopped.is_set():
                return
            yield part_again

    return parts


def refused(fetcher: Fetcher, url: str) -> None:
    with pytest.raises(UrlNotAllowed) as caught:
        fetcher.fetch(url)
    assert str(caught.value) == "This URL is not allowed."


def failed(fetcher: Fetcher, url: str, message: str | None = None) -> None:
    with pytest.raises(FetchFailed, match=message) as caught:
        fetcher.fetch(url)
    said = str(caught.value)
    assert said
    assert "127." not in said
    assert "shop.test" not in said
    assert "Errno" not in said


# What URLs are allowed


@pytest.mark.parametrize("url", URLS)
def test_refuses_a_url_that_is_no_plain_web_address(url: str, connected: list[tuple[Any, ...]]) -> None:
    """A URL with a trick in it is refused before any name is looked up."""
    looked_up: list[str] = []

    def resolver(host: str) -> list[str]:
        looked_up.append(host)
        return ["93.184.215.14"]

    refused(fetcher_for(1, resolver), url)
    assert looked_up == []
    assert connected == []


@pytest.mark.parametrize("host", LOOPBACK + PRIVATE)
def test_refuses_every_spelling_of_an_address_that_is_not_public(host: str, connected: list[tuple[Any, ...]]) -> None:
    """An address that is not public is refused however it is written, and nothing connects to it."""
    fetcher = fetcher_for(1, lambda _: pytest.fail("an address needs no look-up"))
    for url in (f"http://{host}/", f"https://{host}/a.jpg", f"http://{host}:443/"):
        refused(fetcher, url)
    assert connected == []


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["::1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["fe80::1%lo"],
        ["::ffff:192.168.0.1"],
        ["93.184.215.14", "10.0.0.1"],
        ["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::1"],
        ["93.184.215.14"] * 9 + ["127.0.0.1"],
    ],
)
def test_refuses_a_name_with_any_address_that_is_not_public(
    answer: list[str], connected: list[tuple[Any, ...]]
) -> None:
    """One private address among public ones is enough to refuse the name."""
    refused(fetcher_for(1, lambda _: answer), "http://images.example/a.jpg")
    assert connected == []


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "2a00:1450::1",
        "64:ff9b::8.8.8.8",
    ],
)
def test_public_addresses_are_public(address: str) -> None:
    """Neighbours of special ranges, and public IPv4 addresses behind NAT64, are not refused."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize("entry", ["", "http://shop.test", "shop.test/", "*.test", "shop.test:x", "a#b", "a?b", "u@a"])
def test_allowed_hosts_must_be_names(entry: str) -> None:
    """A malformed entry in the list of trusted hosts is an error at start, not a hole or a surprise later."""
    with pytest.raises(ValueError, match="allowed_hosts"):
        Fetcher(FetchPolicy(allowed_hosts=frozenset({entry})))


def test_a_trusted_host_is_trusted_by_exact_name_and_port(site: Site) -> None:
    """Trust covers neither another port, nor a name around it, nor the address behind it."""
    fetcher = site.fetcher()
    assert fetcher.fetch(site.url("/picture")) == PICTURE
    assert fetcher.fetch(f"HTTP://SHOP.test:{site.port}/picture#top") == PICTURE
    for host in ("127.0.0.1", "localhost", "xshop.test", "a.shop.test", "shop.test.example"):
        refused(fetcher, f"http://{host}:{site.port}/picture")
    refused(fetcher, f"http://shop.test:{site.port + 1}/picture")
    refused(fetcher, "http://shop.test/picture")
    assert len(site.requests) == 2


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "0.0.0.0", "224.0.0.1", "::"],
)
def test_a_trusted_host_never_leads_to_credentials_of_the_cloud(
    site: Site, address: str, connected: list[tuple[Any, ...]]
) -> None:
    """Whoever controls the name of a trusted host cannot point it at metadata or link-local addresses."""
    refused(site.fetcher(lambda _: [address]), site.url("/picture"))
    assert connected == []


def test_a_trusted_host_without_port_means_the_web_ports(connected: list[tuple[Any, ...]]) -> None:
    """An entry without a port allows private addresses at ports 80 and 443 and nowhere else."""
    policy = FetchPolicy(allowed_hosts=frozenset({"nas.lan"}), timeout_s=0.2)
    fetcher = Fetcher(policy, resolver=lambda _: ["127.255.255.254"])
    failed(fetcher, "http://nas.lan/")
    failed(fetcher, "https://nas.lan/")
    refused(fetcher, "http://nas.lan:8000/")
    assert connected == [("127.255.255.254", 80), ("127.255.255.254", 443)]


# Names and connections


def test_dials_the_address_that_was_checked(site: Site, connected: list[tuple[Any, ...]]) -> None:
    """A name is looked up once a request, so a second, different answer is never dialled."""
    answers = chain([["127.0.0.1"]], repeat(["127.0.0.2"]))
    assert site.fetcher(lambda _: next(answers)).fetch(site.url("/picture")) == PICTURE
    assert connected == [("127.0.0.1", site.port)]


def test_checks_again_at_each_redirect(site: Site, connected: list[tuple[Any, ...]]) -> None:
    """A name that turns bad between a redirect and the next request is refused then."""
    answers = chain([["127.0.0.1"]], repeat(["169.254.169.254"]))
    site.pages["/"] = moved("/picture")
    refused(site.fetcher(lambda _: next(answers)), site.url())
    assert connected == [("127.0.0.1", site.port)]


def test_tries_the_next_address(site: Site) -> None:
    """When the first address of a host does not answer, the second is used."""
    assert site.fetcher(lambda _: ["::1", "127.0.0.1"]).fetch(site.url("/picture")) == PICTURE


def test_sends_nothing_but_the_request(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request names the original host, asks for no compression and ignores proxies of the environment."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    site.fetcher().fetch(site.url("/picture"))
    lines = site.requests[0].rstrip().split("\r\n")
    assert lines[:2] == ["GET /picture HTTP/1.1", f"Host: shop.test:{site.port}"]
    assert {line.split(":")[0] for line in lines[2:]} == {
        "User-Agent",
        "Accept",
        "Accept-Encoding",
        "Connection",
    }
    assert "Accept-Encoding: identity" in lines


def test_names_and_paths_beyond_ascii(site: Site) -> None:
    """An international name is looked up in its ASCII form, and a path is percent-encoded once."""
    looked_up: list[str] = []

    def resolver(host: str) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    site.pages["/gr%C3%B6%C3%9Fe%20a%2Fb.jpg?x=1&y=%5B"] = ok(PICTURE)
    policy = FetchPolicy(allowed_hosts=frozenset({f"bücher.test:{site.port}"}))
    url = f"http://bücher.test:{site.port}/größe a%2Fb.jpg?x=1&y=%5B#there"
    assert Fetcher(policy, resolver=resolver).fetch(url) == PICTURE
    assert looked_up == ["xn--bcher-kva.test"]


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label")])
def test_an_unknown_host_fails(error: Exception) -> None:
    """A name that does not exist is the remote side's failure, told without the resolver's words."""

    def resolver(_: str) -> list[str]:
        raise error

    failed(Fetcher(resolver=resolver), "http://no-such.example/", UNREACHABLE)
    failed(Fetcher(resolver=lambda _: []), "http://no-such.example/", UNREACHABLE)


def test_a_refused_connection_fails() -> None:
    """A host that does not listen at any of its addresses is the remote side's failure."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    fetcher = fetcher_for(port, lambda _: ["127.0.0.1", "::1"])
    failed(fetcher, f"http://shop.test:{port}/", UNREACHABLE)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_follows_redirects_without_cookies(site: Site, status: int) -> None:
    """Three redirects, absolute and relative, are followed, and cookies set on the way are not sent."""
    site.pages["/1"] = moved(site.url("/2"), status, "Set-Cookie: a=b")
    site.pages["/2"] = moved(f"//shop.test:{site.port}/a/3?q", status)
    site.pages["/a/3?q"] = moved("../picture", status)
    assert site.fetcher().fetch(site.url("/1")) == PICTURE
    assert len(site.requests) == 4
    assert all("cookie" not in request.lower() for request in site.requests)


def test_a_fourth_redirect_fails(site: Site) -> None:
    """The fourth redirect is not followed, nor is a loop."""
    for n in range(4):
        site.pages[f"/{n}"] = moved(f"/{n + 1}")
    site.pages["/4"] = ok(PICTURE)
    failed(site.fetcher(), site.url("/0"), "redirects too often")
    assert len(site.requests) == 4
    site.pages["/loop"] = moved("/loop")
    failed(site.fetcher(), site.url("/loop"), "redirects too often")
    failed(site.fetcher(max_redirects=0), site.url("/3"), "redirects too often")


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "//[::1]/",
        "http://[::1",
        "http://shop.test:22/",
        "gopher://shop.test/",
        "http://user@shop.test/",
        "javascript:alert(1)",
        "/a%00b",
        "/a\tb",
        "\\\\shop.test\\a",
        "http://private.example/",
    ],
)
def test_a_redirect_to_a_forbidden_place_is_refused(
    site: Site, location: str, connected: list[tuple[Any, ...]]
) -> None:
    """A redirect gets the same checks as the first URL, and the same words."""
    site.pages["/"] = moved(location)
    refused(site.fetcher(lambda host: ["127.0.0.1" if host == "shop.test" else "192.168.0.1"]), site.url())
    assert connected == [("127.0.0.1", site.port)]


def test_a_redirect_to_nowhere_fails(site: Site) -> None:
    """A redirect without a location, or with one that is no text, ends in an error of ours."""
    site.pages["/"] = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"
    failed(site.fetcher(), site.url())
    site.pages["/bytes"] = b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\r\nContent-Length: 0\r\n\r\n"
    refused(site.fetcher(), site.url("/bytes"))


def test_the_body_of_a_redirect_is_not_read(site: Site) -> None:
    """An endless compressed body on a redirect costs nothing."""
    head = b"HTTP/1.1 302 Found\r\nLocation: /picture\r\nContent-Encoding: gzip\r\n\r\n"
    site.pages["/"] = forever(site, head, b"\x1f\x8b" * 4096)
    assert site.fetcher().fetch(site.url()) == PICTURE


# Replies


def test_bodies_up_to_the_limit(site: Site) -> None:
    """A body of exactly the limit is taken in every framing, one byte more is refused in every framing."""
    head = b"HTTP/1.1 200 OK\r\n"
    for size, path in ((1000, "/most"), (1001, "/over")):
        body = bytes(size)
        site.pages[path + "/length"] = ok(body)
        site.pages[path + "/chunked"] = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
            size,
            body,
        )
        site.pages[path + "/close"] = head + b"\r\n" + body
    for framing in ("length", "chunked", "close"):
        assert site.fetcher(max_bytes=1000).fetch(site.url(f"/most/{framing}")) == bytes(1000)
        failed(site.fetcher(max_bytes=1000), site.url(f"/over/{framing}"), TOO_LARGE)


def test_a_large_content_length_is_refused_at_once(site: Site) -> None:
    """Nothing of the body is waited for when its announced length is over the limit."""
    site.pages["/"] = forever(site, ok(b"", length=10_000_000), b"", pause_s=0.01)
    failed(site.fetcher(max_bytes=1000, timeout_s=60), site.url(), TOO_LARGE)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_endless_stream_is_cut_at_the_limit(site: Site, chunked: bool) -> None:
    """A stream without an end stops at the limit, not at the deadline."""
    head = b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n")
    part = (b"1000\r\n" if chunked else b"") + bytes(4096) + (b"\r\n" if chunked else b"")
    site.pages["/"] = forever(site, head, part)
    failed(site.fetcher(max_bytes=500_000, timeout_s=60), site.url(), TOO_LARGE)


def test_bytes_after_the_content_length_are_not_taken(site: Site) -> None:
    """A body larger than it says is read to the length that it says."""
    site.pages["/"] = forever(site, ok(PICTURE), bytes(65536))
    assert site.fetcher().fetch(site.url()) == PICTURE


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Bomb: " + b"x" * 1000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Bomb: ", b"x" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;ext=" + b"x" * 1000 + b"\r\n.\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: 1\r\n"),
    ],
)
def test_a_bomb_of_headers_fails(site: Site, head: bytes, part: bytes) -> None:
    """Endless headers, interim replies, chunk extensions or trailers are cut long before the deadline."""
    site.pages["/"] = forever(site, head, part)
    failed(site.fetcher(timeout_s=60), site.url(), "headers|reply, broke")


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "deflate, gzip", "identity, gzip"])
def test_a_compressed_reply_fails(site: Site, coding: str) -> None:
    """A compressed body, which could be a bomb, is never inflated."""
    site.pages["/"] = ok(b"\x1f\x8b", f"Content-Encoding: {coding}")
    failed(site.fetcher(), site.url(), "compressed")


def test_a_reply_that_says_identity_is_fine(site: Site) -> None:
    """Saying that a body is not compressed does not make it a compressed one."""
    site.pages["/"] = ok(PICTURE, "Content-Encoding: identity")
    assert site.fetcher().fetch(site.url()) == PICTURE


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "206 Partial", "304 No", "404 No", "500 Oh"])
def test_any_status_but_success_fails(site: Site, status: str) -> None:
    """Only 200 has a picture behind it."""
    site.pages["/"] = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    failed(site.fetcher(), site.url(), "did not answer with success")


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ncut",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
    ],
)
def test_a_malformed_reply_fails(site: Site, reply: bytes) -> None:
    """A reply that is no HTTP, contradicts itself or breaks off is the remote side's failure."""
    site.pages["/"] = reply
    failed(site.fetcher(), site.url(), "reply, broke")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>", b"\xef\xbb\xbf \r\n<HTML lang=en>", b"<!-- x -->"])
def test_a_web_page_fails(site: Site, page: bytes) -> None:
    """A web page instead of a picture is told apart by its content, whatever type it claims."""
    site.pages["/"] = ok(page, "Content-Type: image/jpeg")
    failed(site.fetcher(), site.url(), "web page")


# What is known already


def test_an_unchanged_picture_is_not_sent_again(site: Site) -> None:
    """The host is asked with what it said before, and its 304 means that nothing has changed."""
    site.pages["/"] = ok(PICTURE, 'ETag: W/"1"', "Last-Modified: Wed, 25 Nov 2026 04:00:00 GMT")
    fetched = site.fetcher().fetch_changed(site.url())
    assert fetched is not None
    assert fetched.validators == Validators('W/"1"', "Wed, 25 Nov 2026 04:00:00 GMT")
    site.pages["/"] = b'HTTP/1.1 304 Not Modified\r\nETag: W/"1"\r\n\r\n'
    assert site.fetcher().fetch_changed(site.url(), fetched.validators) is None
    assert 'If-None-Match: W/"1"\r\nIf-Modified-Since: Wed, 25 Nov 2026 04:00:00 GMT\r\n' in site.requests[1]
    assert "If-" not in site.requests[0]
    site.pages["/"] = ok(PICTURE + b"!", 'ETag: W/"2"')
    changed = site.fetcher().fetch_changed(site.url(), fetched.validators)
    assert changed == Fetched(PICTURE + b"!", Validators('W/"2"', None))


def test_validators_are_of_the_url_itself(site: Site) -> None:
    """They are not sent to where it redirects, nor kept from there; a 304 there answers nothing that was asked."""
    known = Validators('"1"', None)
    site.pages["/"] = moved("/there")
    site.pages["/there"] = ok(PICTURE, 'ETag: "1"')
    assert site.fetcher().fetch_changed(site.url(), known) == Fetched(PICTURE)
    assert ["If-None-Match" in request for request in site.requests] == [True, False]
    site.pages["/there"] = b"HTTP/1.1 304 Not Modified\r\n\r\n"
    with pytest.raises(FetchFailed, match="success"):
        site.fetcher().fetch_changed(site.url(), known)


@pytest.mark.parametrize("value", ["", "x" * 257, "caf\u00e9", "\t"])
def test_strange_validators_are_not_kept(site: Site, value: str) -> None:
    """What is long, or no plain text, is neither stored nor sent back."""
    site.pages["/"] = ok(PICTURE, f"ETag: {value}")
    assert site.fetcher().fetch_changed(site.url()) == Fetched(PICTURE)


def test_a_conditional_fetch_keeps_the_limits(site: Site) -> None:
    """A body over the limit, endless headers and a stall are refused as ever, and forbidden URLs are."""
    known = Validators('"1"', None)
    site.pages["/large"] = ok(bytes(1001))
    site.pages["/bomb"] = forever(site, b"HTTP/1.1 304 Not Modified\r\n", b"X-Bomb: " + b"x" * 1000 + b"\r\n")
    site.pages["/stall"] = forever(site, b"HTTP/1.1 304 Not Modified\r\n", b"", pause_s=0.02)
    fetcher = site.fetcher(max_bytes=1000, timeout_s=0.5)
    for path, message in (("/large", TOO_LARGE), ("/bomb", "headers|reply, broke"), ("/stall", TOO_SLOW)):
        with pytest.raises(FetchFailed, match=message):
            fetcher.fetch_changed(site.url(path), known)
    with pytest.raises(UrlNotAllowed):
        fetcher.fetch_changed("http://127.0.0.1/", known)


# Time


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b""),
    ],
)
def test_a_slow_reply_fails_at_the_deadline(site: Site, head: bytes, part: bytes) -> None:
    """A host that stalls or trickles cannot hold a fetch beyond its time, though each read makes progress."""
    site.pages["/"] = forever(site, head, part, pause_s=0.02)
    failed(site.fetcher(timeout_s=0.15), site.url(), TOO_SLOW)


def test_redirects_share_the_time(site: Site) -> None:
    """Every hop is fast enough by itself, all together are not."""

    def slowly() -> Iterator[bytes]:
        site.stopped.wait(0.1)
        yield moved("/")

    site.pages["/"] = slowly
    failed(site.fetcher(timeout_s=0.25), site.url(), TOO_SLOW)


def test_a_silent_tls_handshake_fails_at_the_deadline() -> None:
    """A host that accepts a connection and never answers the handshake cannot hold a fetch."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        failed(fetcher_for(port, timeout_s=0.15), f"https://shop.test:{port}/", TOO_SLOW)


def test_slow_look_ups_cannot_hold_fetches(site: Site) -> None:
    """Look-ups that hang cost their fetches the deadline, hang in bounded number, and are then forgotten."""
    answer = threading.Event()
    started: list[str] = []

    def resolver(host: str) -> list[str]:
        started.append(host)
        answer.wait()
        return ["127.0.0.1"]

    stuck = site.fetcher(resolver, timeout_s=0.01)
    while len(started) < MAX_LOOKUPS:
        failed(stuck, site.url("/picture"), TOO_SLOW)
    failed(stuck, site.url("/picture"), TOO_SLOW)
    assert len(started) == MAX_LOOKUPS
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "fetch-lookup":
            thread.join()
    relaxed = site.fetcher(resolver)
    assert relaxed.fetch(site.url("/picture")) == PICTURE


# TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The self-signed certificate of shop.test."""
    return self_signed(tmp_path_factory.mktemp("tls"), "shop.test")


@pytest.fixture
def secure_site(certificate: Certificate) -> Iterator[tuple[Site, list[str | None]]]:
    """A site over TLS, and the server names that its clients asked for."""
    names: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    site = Site(tls)
    site.pages["/picture"] = ok(PICTURE)
    yield site, names
    site.close()


def test_tls_keeps_the_original_name(secure_site: tuple[Site, list[str | None]], certificate: Certificate) -> None:
    """The address is dialled, but the certificate is asked for and checked by the host's name."""
    site, names = secure_site
    hosts = frozenset({f"shop.test:{site.port}", f"other.test:{site.port}"})
    tls = ssl.create_default_context(cafile=certificate.chain)
    fetcher = Fetcher(FetchPolicy(allowed_hosts=hosts), resolver=lambda _: ["127.0.0.1"], tls=tls)
    assert fetcher.fetch(site.url("/picture", scheme="https")) == PICTURE
    failed(fetcher, f"https://other.test:{site.port}/picture", "secure connection")
    assert names == ["shop.test", "other.test"]


def test_an_untrusted_certificate_fails(secure_site: tuple[Site, list[str | None]]) -> None:
    """A certificate that no authority signed is refused before the request is sent."""
    site, _ = secure_site
    policy = FetchPolicy(allowed_hosts=frozenset({f"shop.test:{site.port}"}))
    fetcher = Fetcher(policy, resolver=lambda _: ["127.0.0.1"])
    failed(fetcher, site.url("/picture", scheme="https"), "secure connection")
    assert site.requests == []


def test_no_tls_behind_https_fails(site: Site) -> None:
    """An https URL whose host speaks plain HTTP is the remote side's failure."""
    failed(site.fetcher(timeout_s=0.3), site.url("/picture", scheme="https"))


# The fetcher


def test_one_fetcher_serves_many_threads(site: Site) -> None:
    """Fetches from several threads at once do not disturb each other."""
    fetcher = site.fetcher()
    site.pages["/bad"] = b"garbage"

    def attempt(path: str) -> bytes | None:
        try:
            return fetcher.fetch(site.url(path))
        except FetchError:
            return None

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(attempt, ["/picture", "/bad"] * 16)) == [PICTURE, None] * 16


def test_a_closed_fetcher_starts_nothing(site: Site) -> None:
    """Using a fetcher after closing it is a mistake in the program, not in the URL."""
    with site.fetcher() as fetcher:
        assert fetcher.fetch(site.url("/picture")) == PICTURE
    with pytest.raises(RuntimeError):
        fetcher.fetch(site.url("/picture"))
