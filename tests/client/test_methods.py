"""How the methods go on: jobs that are waited for, lists of many pages, and searches of several queries."""

from typing import Any

import pytest

from seesame_client import Client, DeadlineExceeded, JobFailed, Query, Region
from tests.client.conftest import Connect
from tests.client.scripted import Server, value

IMAGE = {"id": "i", "url": "/v1/images/i", "width": 4, "height": 3}
ANSWER = {"query_id": "1", "space": "s", "search": {"method": "hnsw", "exhausted": False}, "results": []}


def job(status: str, done: int, **more: object) -> dict[str, Any]:
    times = {"created_at": "2026-05-01T10:00:00Z", "started_at": None, "ended_at": None}
    return {"id": "j", "kind": "import", "status": status, "done": done, "total": 9, **times, **more}


@pytest.fixture
def pauses() -> list[float]:
    """How long the client paused."""
    return []


@pytest.fixture
def client(connect: Connect, scripted: Server, pauses: list[float]) -> Client:
    """A client of the scripted server."""
    return connect(scripted.url, sleep=pauses.append)


def test_a_job_is_waited_for(client: Client, scripted: Server, pauses: list[float]) -> None:
    """Progress is told each time; the job at its end has the lines that failed."""
    wrong = {"line": 3, "product_id": "SKU-9", "code": "invalid_input", "message": "No price."}
    ended = job("succeeded", 9, errors=[wrong], errors_total=1, counts={"products_created": 8, "of_tomorrow": 1})
    scripted.script = [value(job("queued", 0)), value(job("running", 4)), value(ended)]
    seen: list[tuple[str, int]] = []
    done = client.wait_for_job("j", on_progress=lambda job: seen.append((job.status, job.done)), every_s=0.5)
    assert seen == [("queued", 0), ("running", 4), ("succeeded", 9)]
    assert pauses == [0.5, 0.5]
    assert (done.errors[0].line, done.counts["products_created"]) == (3, 8)
    assert done.created_at is not None
    assert done.created_at.isoformat() == "2026-05-01T10:00:00+00:00"


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_that_fails_is_an_error(client: Client, scripted: Server, status: str) -> None:
    """It has the job."""
    scripted.always = value(job(status, 4, message="The header has no column product_id."))
    with pytest.raises(JobFailed, match="no column product_id") as caught:
        client.wait_for_job("j")
    assert caught.value.job.status == status


def test_waiting_for_a_job_can_end(connect: Connect, scripted: Server) -> None:
    """The last pause is as long as the time that is left."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    scripted.always = value(job("running", 4))
    client = connect(scripted.url, clock=lambda: now, sleep=sleep)
    with pytest.raises(DeadlineExceeded, match="it goes on"):
        client.wait_for_job("j", every_s=2, timeout_s=5)
    assert now == 5
    assert len(scripted.asked) == 4


def test_jobs_and_failures_are_read_page_by_page(client: Client, scripted: Server) -> None:
    """The next page is asked for when it is needed."""
    scripted.script = [
        value({"jobs": [job("running", number) for number in range(200)], "total": 201}),
        value({"jobs": [job("queued", 0)], "total": 201}),
    ]
    jobs = client.jobs()
    assert scripted.asked == []
    assert next(jobs).status == "running"
    assert len(scripted.asked) == 1
    assert len(list(jobs)) == 200
    assert [asked.params for asked in scripted.asked] == [
        {"limit": "200"},
        {"limit": "200", "offset": "200"},
    ]
    failure = {"product_id": "SKU-9", "title": "A boot", "image": IMAGE, "space": "s", "code": "image_undecodable",
               "message": "Damaged.", "attempts": 3, "given_up": True, "next_try_at": None}  # fmt: skip
    scripted.script = [value({"failures": [failure], "total": 1})]
    (failed,) = client.failures()
    assert (failed.given_up, failed.attempts, failed.next_try_at) == (True, 3, None)


def test_a_server_that_gives_cursors_is_asked_by_them(client: Client, scripted: Server) -> None:
    """Until it gives none."""
    found = {"product_id": "SKU-9", "product": {"product_id": "SKU-9"}}
    page = {"products": [found["product"]], "total": 9}
    scripted.script = [
        value(ANSWER | {"results": [found], "next": "c1"}),
        value(ANSWER | {"results": [], "next": "c2"}),
        value(ANSWER | {"results": [found], "next": None}),
        value(page | {"next": "c3"}),
        value(page | {"next": None}),
    ]
    assert len(list(client.search_all(Query.text("boots"), page_size=2))) == 2
    assert [asked.json.get("cursor") for asked in scripted.asked] == [None, "c1", "c2"]
    assert "offset" not in scripted.asked[2].json
    assert len(list(client.products())) == 2
    assert scripted.asked[-1].params == {"limit": "200", "cursor": "c3"}


def test_several_queries_are_one_search(client: Client, scripted: Server) -> None:
    """Each with its weight and its part of the picture; what is not said is left to the server."""
    scripted.always = value(ANSWER | {"image_id": "q_1"})
    box = Region(0.1, 0.2, 0.5, 0.5)
    answer = client.search(
        Query.photo(b"photo", region=box),
        Query.url("https://shop.test/boot.jpg", weight=-0.5),
        Query.image("q_1"),
        Query.text("red"),
        Query.product("SKU-9"),
        limit=3,
        filter={"price": {"lt": 50}},
        min_similarity=0.0,
        explain=True,
        hybrid=False,
    )
    assert answer.image_id == "q_1"
    assert scripted.asked[0].json == {
        "queries": [
            {"image": {"base64": "cGhvdG8="}, "region": {"x": 0.1, "y": 0.2, "width": 0.5, "height": 0.5}},
            {"image": {"url": "https://shop.test/boot.jpg"}, "weight": -0.5},
            {"image": {"id": "q_1"}},
            {"text": "red"},
            {"product_id": "SKU-9"},
        ],
        "limit": 3,
        "filter": {"price": {"lt": 50}},
        "min_similarity": 0.0,
        "explain": True,
        "hybrid": False,
    }


def test_parts_are_of_a_picture(client: Client, scripted: Server) -> None:
    """Words have none."""
    with pytest.raises(ValueError, match="image is needed"):
        client.search_regions(Query.text("red"), [Region(0, 0, 1, 1)])
    assert scripted.asked == []
