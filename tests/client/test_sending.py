"""How the clients send: what is tried again and what is not, how long, and what the errors say."""

import logging
import pickle
import socket
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from seesame_client import (
    Busy,
    Client,
    Conflict,
    DeadlineExceeded,
    InvalidReply,
    InvalidRequest,
    Job,
    JobFailed,
    NotAllowed,
    NotFound,
    Query,
    Refused,
    Retry,
    SeesameError,
    Unavailable,
    Unreachable,
)
from tests.client.conftest import Connect
from tests.client.scripted import Asked, Server, hang_up, problem, reply, value
from tests.models import until

PHOTO = b"\xff\xd8 a photo"
ANSWER = {
    "query_id": "1",
    "space": "tiny@1",
    "search": {"method": "exact", "exhausted": True, "scanned": 0},
    "results": [],
}
PRODUCT = {"product_id": "SKU-9", "title": "A boot"}
IMAGE = {"id": "i", "url": "/v1/images/i", "width": 1, "height": 1}
BUSY = problem(429, "clip_busy", Retry_After="2")


@pytest.fixture
def pauses() -> list[float]:
    """How long the client paused; the pauses themselves are left out."""
    return []


@pytest.fixture
def client(connect: Connect, scripted: Server, pauses: list[float]) -> Client:
    """A client of the scripted server."""
    return connect(scripted.url, sleep=pauses.append)


def search(client: Client) -> object:
    return client.search(Query.photo(PHOTO))


Method = Callable[[Client], object]
REPEATABLE: list[tuple[Method, object]] = [
    (search, ANSWER),
    (lambda client: client.search(Query.text("boots"), Query.photo(PHOTO, weight=0.5)), ANSWER),
    (lambda client: client.put_product("SKU-9", title="A boot"), PRODUCT),
    (lambda client: client.add_image("SKU-9", PHOTO), IMAGE),
]
METHODS = pytest.mark.parametrize(("method", "answer"), REPEATABLE, ids=["photo", "several", "put", "upload"])


# --- tries


@METHODS
@pytest.mark.parametrize("fault", [BUSY, problem(503, "database_unavailable"), hang_up], ids=["429", "503", "cut"])
def test_what_may_be_repeated_is(
    client: Client, scripted: Server, pauses: list[float], method: Method, answer: object, fault: Any
) -> None:
    """The same request, with the same id, until it is answered."""
    scripted.script = [fault, fault, value(answer)]
    method(client)
    first, _, last = scripted.asked
    assert (last.method, last.target, last.headers["x-request-id"]) == (
        first.method,
        first.target,
        first.headers["x-request-id"],
    )
    assert _without_boundary(last) == _without_boundary(first)
    assert len(pauses) == 2


def _without_boundary(asked: Asked) -> bytes:
    """Each multipart body has parts of its own making between its parts."""
    boundary = asked.headers["content-type"].partition("boundary=")[2].encode()
    return asked.body.replace(boundary, b"") if boundary else asked.body


def test_a_deletion_whose_reply_was_lost_is_done(client: Client, scripted: Server) -> None:
    """The second try finds nothing, since the first was heard; where the first finds nothing, nothing was there."""
    scripted.script = [hang_up, problem(404, "not_found")]
    client.delete_product("SKU-9")
    scripted.script = [problem(404, "not_found")]
    with pytest.raises(NotFound):
        client.delete_product("SKU-9")
    assert len(scripted.asked) == 3


@pytest.mark.parametrize("fault", [BUSY, problem(503, "draining"), hang_up], ids=["429", "503", "cut"])
def test_an_import_is_sent_once(client: Client, scripted: Server, pauses: list[float], fault: Any) -> None:
    """A second one could be a second job."""
    scripted.always = fault
    with pytest.raises(SeesameError):
        client.start_import([PRODUCT])
    assert len(scripted.asked) == 1
    assert pauses == []


def test_pauses_double_at_most_and_begin_anywhere(client: Client, scripted: Server, pauses: list[float]) -> None:
    """Each lies between nothing and a bound that doubles; the last failure is told."""
    scripted.always = problem(503, "database_unavailable", "The database cannot be reached.")
    for _ in range(20):
        with pytest.raises(Unavailable, match="The database cannot be reached"):
            search(client)
    assert len(scripted.asked) == 80
    for number in range(3):
        nth = pauses[number::3]
        assert 0 <= min(nth) < max(nth) <= 0.25 * 2**number
        assert len(set(nth)) == 20


def test_retry_after_is_waited_for(client: Client, scripted: Server, pauses: list[float]) -> None:
    """Seconds, and a date by the server's clock, whatever the client's says; a little is added, so that not all
    clients come back at once."""
    served = 1_000_000_000
    dated = problem(
        503, "draining", Retry_After=formatdate(served + 7, usegmt=True), Date=formatdate(served, usegmt=True)
    )
    scripted.script = [BUSY, dated, problem(429, "clip_busy", Retry_After="soon"), value(ANSWER)]
    search(client)
    for pause, (least, most) in zip(pauses, [(2, 2.25), (7, 7.5), (0, 1)], strict=True):
        assert least <= pause <= most


@pytest.mark.parametrize("told", ["61", "59"])
def test_nobody_waits_beyond_the_deadline(connect: Connect, scripted: Server, told: str) -> None:
    """A server that says to come again later than the call may take is an error at once, which says when."""
    pauses: list[float] = []
    client = connect(scripted.url, sleep=pauses.append, deadline_s=None if told == "61" else 30)
    scripted.always = problem(429, "clip_busy", Retry_After=told)
    with pytest.raises(Busy) as caught:
        search(client)
    assert caught.value.retry_after_s == float(told)
    assert pauses == []


def test_one_try_can_be_enough(connect: Connect, scripted: Server) -> None:
    """`Retry(tries=1)`."""
    scripted.always = BUSY
    with pytest.raises(Busy):
        search(connect(scripted.url, retry=Retry(tries=1)))
    assert len(scripted.asked) == 1


def test_a_reply_that_is_cut_is_asked_for_again(client: Client, scripted: Server) -> None:
    """Half of an answer is none."""
    scripted.script = [reply(200, b'{"query', Content_Length="500", Connection="close"), value(ANSWER)]
    search(client)
    assert len(scripted.asked) == 2


def test_nobody_there(connect: Connect, pauses: list[float]) -> None:
    """A refused connection is tried again, too; the error of the HTTP library is the cause."""
    with socket.socket() as bound:  # bound and not listening: refused
        bound.bind(("127.0.0.1", 0))
        client = connect(f"http://127.0.0.1:{bound.getsockname()[1]}", sleep=pauses.append)
        with pytest.raises(Unreachable) as caught:
            search(client)
    assert len(pauses) == 3
    assert caught.value.__cause__ is not None
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize("stall", [Server.hang, Server.trickle])
def test_the_deadline_holds_for_the_whole_call(connect: Connect, scripted: Server, stall: Any) -> None:
    """Each step could take longer: the server says nothing, or says it byte by byte."""
    scripted.always = lambda asked: stall(scripted, asked)
    with pytest.raises(DeadlineExceeded):
        search(connect(scripted.url, deadline_s=0.3))
    assert len(scripted.asked) == 1


def test_connections_are_used_again(client: Client, scripted: Server) -> None:
    """Also after errors."""
    scripted.script = [value(ANSWER), problem(404, "not_found"), BUSY]
    scripted.always = value(PRODUCT)
    search(client)
    with pytest.raises(NotFound):
        client.product("none")
    client.product("SKU-9")
    assert len(scripted.asked) == 4
    assert scripted.connections == 1


def test_a_request_is_known_by_one_id(connect: Connect, scripted: Server) -> None:
    """The shop's own, if it has one, or a new one for each call."""
    scripted.always = value(PRODUCT)
    ids = iter(["shop-7", None])
    client = connect(scripted.url, request_id=lambda: next(ids), key="ssm_x", headers={"X-Shop": "1"})
    client.product("SKU-9")
    client.product("SKU-9")
    first, second = (asked.headers["x-request-id"] for asked in scripted.asked)
    assert first == "shop-7"
    assert len(second) == 32
    assert scripted.asked[0].headers["authorization"] == "Bearer ssm_x"
    assert scripted.asked[0].headers["x-shop"] == "1"
    assert scripted.asked[0].headers["user-agent"].startswith("seesame-client/")


def test_no_photo_is_logged(client: Client, scripted: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Neither by the client, nor by the library below it, nor where a query is printed."""
    scripted.script = [problem(503, "draining"), value(ANSWER)]
    with caplog.at_level(logging.DEBUG):
        search(client)
    for text in (caplog.text, repr(Query.photo(PHOTO))):
        assert "a photo" not in text


# --- errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, NotAllowed),
        (403, NotAllowed),
        (404, NotFound),
        (409, Conflict),
        (413, InvalidRequest),
        (415, InvalidRequest),
        (422, InvalidRequest),
        (500, Refused),
        (507, Refused),
    ],
)
def test_a_problem_is_an_error_of_its_kind(client: Client, scripted: Server, status: int, kind: type[Refused]) -> None:
    """With all that the server says, and asked once."""
    wrong = [{"field": "limit", "message": "Too many."}, {"field": "offset", "message": "Too far."}]
    scripted.always = problem(status, "a_code", "Not like this.", errors=wrong)
    with pytest.raises(Refused) as caught:
        search(client)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.detail) == (status, "a_code", "Not like this.")
    assert error.fields == {"limit": "Too many.", "offset": "Too far."}
    assert error.request_id == "server-1"
    assert "Too far." in str(error)
    assert len(scripted.asked) == 1


def test_errors_can_be_pickled() -> None:
    """A queue of tasks keeps them so."""
    refused = NotFound(404, "not_found", "No such product.", request_id="1", fields={"a": "b"})
    failed = JobFailed(Job("j", "failed", message="No header."))
    for error in (refused, failed, InvalidReply(200, "1"), DeadlineExceeded("Too late.", request_id="1")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_something_else_may_answer(client: Client, scripted: Server) -> None:
    """A proxy's page is no answer, whatever its status, and where it sends to is told and not followed."""
    scripted.always = reply(200, b"<html>Welcome", X_Request_ID="proxy-1")
    with pytest.raises(InvalidReply) as caught:
        search(client)
    assert (caught.value.status, caught.value.request_id) == (200, "proxy-1")
    scripted.always = reply(401, b"<html>Who are you?")
    with pytest.raises(Refused) as refused:
        search(client)
    assert (refused.value.status, refused.value.code) == (401, "")
    scripted.always = reply(301, Location="https://search.shop.test/")
    with pytest.raises(Refused, match=r"It is at https://search\.shop\.test/"):
        search(client)
    scripted.always = reply(502, b"<html>Bad gateway")
    with pytest.raises(Unavailable):
        search(client)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://localhost", "http://"])
def test_a_url_that_cannot_be_one_is_refused(url: str) -> None:
    """At once, not at the first call."""
    with pytest.raises(ValueError, match="URL"):
        Client(url)


# --- replies


def test_other_releases_of_the_server_work(client: Client, scripted: Server) -> None:
    """What a newer one adds is passed over; what an older one lacks has its default."""
    found = {"product_id": "SKU-9", "product": PRODUCT | {"price": 7, "colour": "new"}, "similarity": 1, "new": {}}
    scripted.always = value(ANSWER | {"results": [found], "facets": {"price": [{"value": 7, "count": 1}]}, "new": [1]})
    answer = search(client)
    assert answer == client.search(Query.text("boots"))
    (result,) = client.search(Query.text("boots")).results
    assert (result.similarity, result.image, result.product.price) == (1.0, None, 7.0)


@pytest.mark.parametrize(
    "changed", [{"results": {}}, {"results": [1]}, {"space": None}, {"search": {"method": 1, "exhausted": True}}]
)
def test_a_reply_of_another_shape_is_an_error(client: Client, scripted: Server, changed: dict[str, Any]) -> None:
    """Not an exception of whatever stumbles over it."""
    scripted.always = value(ANSWER | changed)
    with pytest.raises(InvalidReply):
        search(client)


def test_a_picture_is_saved_whole_or_not_at_all(client: Client, scripted: Server, tmp_path: Path) -> None:
    """A download that is cut begins again; one that fails leaves what was there."""
    cut = reply(200, b"half", Content_Length="9", Connection="close")
    target = tmp_path / "picture.jpg"
    scripted.script = [cut, reply(200, b"the whole")]
    assert client.save_picture("i", target, thumbnail=True) == target
    assert target.read_bytes() == b"the whole"
    assert scripted.asked[0].target == "/v1/images/i?size=thumb"
    scripted.always = cut
    with pytest.raises(Unreachable):
        client.save_picture("i", target)
    assert [path.name for path in tmp_path.iterdir()] == ["picture.jpg"]
    assert target.read_bytes() == b"the whole"


def test_ids_are_parts_of_a_path(client: Client, scripted: Server) -> None:
    """Whatever the shop's ids hold."""
    scripted.always = value(PRODUCT)
    for product_id in ("a/b", "..", "a?b#c", "Größe 9", "%2F"):
        client.product(product_id)
    assert [asked.target for asked in scripted.asked] == [
        "/v1/products/a%2Fb",
        "/v1/products/%2E%2E",
        "/v1/products/a%3Fb%23c",
        "/v1/products/Gr%C3%B6%C3%9Fe%209",
        "/v1/products/%252F",
    ]


# --- uploads of imports

JOB = {"id": "j", "status": "queued"}


def test_products_are_sent_as_they_come(client: Client, scripted: Server) -> None:
    """The server has the first of them before the last is made."""
    scripted.always = value(JOB, 202)
    seen = []

    def products() -> Iterator[dict[str, str]]:
        for number in range(2_000):
            yield {"product_id": f"SKU-{number}", "title": "A boot with a long name " * 4}
        seen.append(scripted.arrived.wait(20))
        yield {"product_id": "last"}

    assert client.start_import(products(), mode="sync").status == "queued"
    (asked,) = scripted.asked
    assert seen == [True]
    assert asked.complete
    assert (asked.params, asked.headers["content-type"]) == ({"mode": "sync"}, "application/x-ndjson")
    assert len(asked.body.splitlines()) == 2_001


def test_products_that_break_off_are_no_import(client: Client, scripted: Server) -> None:
    """The error is the shop's own, and the server sees that its request is not complete."""

    def products() -> Iterator[dict[str, str]]:
        for number in range(2_000):
            yield {"product_id": f"SKU-{number}", "title": "A boot with a long name " * 4}
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.start_import(products(), mode="sync")
    until(lambda: scripted.asked)
    assert not scripted.asked[0].complete


def test_a_file_is_sent_as_what_it_is(client: Client, scripted: Server, tmp_path: Path) -> None:
    """Its name tells which; the server is told its length."""
    scripted.always = value(JOB, 202)
    content = b"product_id,title\n" + b"SKU-9,A boot\n" * 20_000
    for name, kind in [("products.csv", "text/csv"), ("products.JSONL", "application/x-ndjson")]:
        (tmp_path / name).write_bytes(content)
        client.start_import(tmp_path / name)
        assert scripted.asked[-1].headers["content-type"] == kind
        assert scripted.asked[-1].headers["content-length"] == str(len(content))
        assert scripted.asked[-1].body == content
    with pytest.raises(ValueError, match="csv"):
        client.start_import(tmp_path / "products.xlsx")
