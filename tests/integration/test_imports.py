"""Files that are sent to be imported: jobs over HTTP, from the upload to the last error."""

import csv
import io
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from seesame import job_runner, jobs
from seesame.application import Application, open_application
from seesame.errors import DeletionRefused, NotFound
from seesame.job_runner import JobRunner
from seesame.records import RecordError, read_records
from seesame.settings import Settings
from seesame.syncing import Unnamed
from seesame.types import Product
from tests.conftest import picture, served
from tests.faults.processes import eventually
from tests.picture_host import PictureHost, picture_host

CSV = {"Content-Type": "text/csv"}
JSONL = {"Content-Type": "application/x-ndjson"}
Shop = tuple[httpx2.Client, Application]


@pytest.fixture
def host() -> Iterator[PictureHost]:
    """A web server of pictures."""
    with picture_host() as host:
        yield host


@pytest.fixture
def shop(settings: Settings, host: PictureHost) -> Iterator[Shop]:
    """A server that may fetch from the host, and its services."""
    told = settings.model_copy(update={"allowed_image_hosts": host.name, "max_import_bytes": 3_000_000})
    with open_application(told) as application, served(application) as client:
        yield client, application


def _send(client: httpx2.Client, body: Any, headers: dict[str, str] | None = None, **params: Any) -> dict[str, Any]:
    """Sends a file and waits for its job to end; the job."""
    reply = client.post("/v1/imports", content=body, headers=headers or CSV, params=params)
    assert reply.status_code == 202, reply.text
    assert reply.headers["location"] == f"/v1/jobs/{reply.json()['id']}"
    return _ended(client, reply.json()["id"])


def _ended(client: httpx2.Client, job_id: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return job if job["status"] not in ("queued", "running") else None

    return eventually(ended)


def _files(application: Application) -> list[Path]:
    return list((application.settings.data_dir / "imports").iterdir())


def _ids(application: Application) -> set[str]:
    return application.catalogue.ids()


def test_a_table_is_imported_as_a_job(shop: Shop, host: PictureHost) -> None:
    """Products and pictures are there at its end, its progress and errors are told, its file is gone."""
    client, application = shop
    host.pictures |= {"/a.jpg": picture("red"), "/cut.jpg": picture()[:300]}
    rows = [f"a,A,{host.url('/a.jpg')}", f"b,B,{host.url('/cut.jpg')}|{host.url('/none.jpg')}", "c,C,", "d,D,,,"]
    job = _send(client, "\n".join(["product_id,title,images", *rows]))
    assert (job["kind"], job["mode"], job["status"], job["message"]) == ("import", "merge", "succeeded", None)
    assert (job["total"], job["done"], job["succeeded"], job["failed"], job["errors_total"]) == (4, 4, 2, 2, 3)
    assert job["counts"] == {
        "products_created": 3, "products_updated": 0, "products_unchanged": 0, "products_deleted": 0,
        "images_added": 1, "images_unchanged": 0,
    }  # fmt: skip
    told = [
        (e["line"], e["product_id"], e["code"]) for e in sorted(job["errors"], key=lambda e: (e["line"], e["code"]))
    ]
    assert told == [(3, "b", "fetch_failed"), (3, "b", "image_undecodable"), (5, "d", "invalid_input")]
    table = client.get(f"/v1/jobs/{job['id']}/errors")
    assert table.headers["content-type"].startswith("text/csv")
    assert len(list(csv.DictReader(io.StringIO(table.text)))) == 3
    assert len(client.get("/v1/products/a").json()["images"]) == 1
    assert _files(application) == []
    assert 'seesame_imported_records_total{outcome="failed"} 2.0' in client.get("/metrics").text


def test_json_lines_and_forms_are_taken_too(shop: Shop) -> None:
    """By the type of the body, by the name of a file in a form, or by the type of the part."""
    client, application = shop
    _send(client, json.dumps({"product_id": "a", "tags": ["x"]}), JSONL)
    parts = {
        "b": ("../../etc/b\u202e.tsv", "product_id\ttitle\nb\tB", "application/octet-stream"),
        "c": ("c.jsonl", '{"product_id": "c"}', "text/plain"),
        "d": ("d", "product_id\nd", "text/csv"),
    }
    for name, part in parts.items():
        reply = client.post("/v1/imports", files={"file": part})
        assert reply.status_code == 202, reply.text
        assert reply.json()["filename"] == {"b": "b.tsv", "c": "c.jsonl", "d": "d"}[name]
        assert _ended(client, reply.json()["id"])["status"] == "succeeded"
    assert _ids(application) == {"a", "b", "c", "d"}
    listed = client.get("/v1/jobs", params={"limit": 2}).json()
    assert (listed["total"], [job["filename"] for job in listed["jobs"]]) == (4, ["d", "c.jsonl"])
    assert "errors" not in listed["jobs"][0]


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no type": ({"content": b"product_id\na"}, 415, "unsupported_format"),
    "another type": (
        {"content": b"product_id\na", "headers": {"Content-Type": "text/html"}},
        415,
        "unsupported_format",
    ),
    "another name": ({"files": {"file": ("a.exe", b"x", "application/x")}}, 415, "unsupported_format"),
    "another part": ({"files": {"image": ("a.csv", b"x", "text/csv")}}, 422, "invalid_input"),
    "two parts": ({"files": [("file", ("a.csv", b"x")), ("file", ("a.csv", b"x"))]}, 422, "invalid_input"),
    "a thousand and one parts": (
        {"files": [("file", ("a.csv", b"x"))], "data": {f"f{n}": "" for n in range(1_000)}},
        400,
        "bad_request",
    ),
    "no boundary": ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "bad_request"),
    "no end": (
        {
            "content": b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nproduct_id\na',
            "headers": {"Content-Type": "multipart/form-data; boundary=x"},
        },
        400,
        "bad_request",
    ),
    "a thousand headers": (
        {"content": b"--x\r\n" + b"A: b\r\n" * 1_000, "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        400,
        "bad_request",
    ),
    "another mode": ({"content": b"x", "headers": CSV, "params": {"mode": "replace"}}, 422, "invalid_input"),
    "encoded": ({"content": b"x", "headers": CSV | {"Content-Encoding": "gzip"}}, 415, "unsupported_encoding"),
    "too large": ({"content": bytes(3_200_000), "headers": CSV}, 413, "request_too_large"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_file_to_import_makes_no_job(shop: Shop, name: str) -> None:
    """It gets its code, and leaves neither a job nor a file behind; a good one is taken at once after."""
    client, application = shop
    sent, status, code = REFUSED[name]
    reply = client.post("/v1/imports", **sent)
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    assert client.get("/v1/jobs").json()["total"] == 0
    assert _files(application) == []
    assert _send(client, "product_id\na")["status"] == "succeeded"


def test_a_body_without_an_honest_length_is_cut_at_its_limit(shop: Shop) -> None:
    """It is counted as it arrives, and one that is cut off makes no job."""
    client, application = shop
    block = b"x" * 65_536
    endless = client.post("/v1/imports", content=(block for _ in range(1_000)), headers=CSV)
    assert (endless.status_code, endless.json()["code"]) == (413, "request_too_large")
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
        head = "POST /v1/imports HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b"product_id\nx\n")
        eventually(lambda: _files(application))
    eventually(lambda: not _files(application))
    assert client.get("/v1/jobs").json()["total"] == 0


def test_a_file_that_was_sent_names_no_file_of_the_server(shop: Shop, tmp_path: Path) -> None:
    """Whatever the spelling: the line is refused with a code, and nothing is read."""
    client, application = shop
    (tmp_path / "secret.jpg").write_bytes(picture())
    places = [str(tmp_path / "secret.jpg"), "../secret.jpg", "secret.jpg", ".", "/proc/self/mem", "~/x.jpg"]
    places += [f"file://{tmp_path}/secret.jpg", f"://{tmp_path}/secret.jpg", "http://127.0.0.1/x.jpg", "http://[::1]/"]
    lines = [json.dumps({"product_id": f"p{n}", "image": place}) for n, place in enumerate(places)]
    job = _send(client, "\n".join(lines), JSONL)
    assert job["counts"]["images_added"] == 0
    assert {error["line"]: error["code"] for error in job["errors"]} == {
        **dict.fromkeys(range(1, 7), "path_not_allowed"), **dict.fromkeys(range(7, 11), "url_not_allowed"),
    }  # fmt: skip
    assert "p0" not in _ids(application)
    assert "secret" not in json.dumps(job)


def test_hostile_lines_are_errors_of_their_own(shop: Shop) -> None:
    """Strange bytes, numbers, depths and lengths stop neither the lines around them nor the server."""
    client, application = shop
    bad = [
        b'{"product_id": "a\\u0000"}',
        b'{"product_id": "a", "title": "\\ud800"}',
        b'{"product_id": "\\ud800"}',
        b'{"product_id": "a", "price": 1e9999}',
        b'{"product_id": "a", "price": 1e13}',
        b'{"product_id": "a", "price": NaN}',
        b'{"product_id": "a", "price": "\\u0000"}',
        b'{"product_id": "a", "x": Infinity}',
        b'{"product_id": "a", "x": ' + b"[" * 100_000,
        b'{"product_id": "a", "attributes": {"\\ud800": 1}}',
        b'{"product_id": "a", "title": "' + b"x" * 1_100_000 + b'"}',
        b'{"product_id": "a", "currency": "euro"}',
        b"\xff\xfe\x00",
        b"\0" * 1_000,
    ]
    job = _send(client, b"\n".join([b'{"product_id": "first"}', *bad, b'{"product_id": "last", "price": 1e9}']), JSONL)
    assert (job["status"], job["failed"], job["errors_total"]) == ("succeeded", len(bad), len(bad))
    assert [error["line"] for error in job["errors"]] == list(range(2, len(bad) + 2))
    assert _ids(application) == {"first", "last"}
    rows = [b"first,", b'"never closed,', b"a\0,", b"a,1,2", b"\xff,", b"b," + b"x" * 200_000, b'q"x",1', b"last,"]
    rows[5:5] = [b"y" * 1_100_000]
    job = _send(client, b"\n".join([b"product_id,title", *rows]))
    assert job["status"] == "succeeded"
    assert {error["line"] for error in job["errors"]} >= {3, 4, 5, 6, 7, 8}
    assert (job["counts"]["products_unchanged"], job["counts"]["products_updated"]) == (1, 1)
    for strange in (
        b"",
        b"\n\n",
        b"title\nx",
        b"\xef\xbb\xbf",
        b"\xff" * 1_000_000,
        b'"' * 1_000_000,
        b"," * 1_000_000,
    ):
        assert _send(client, strange)["counts"]["products_created"] == 0
        assert _send(client, strange, JSONL)["counts"]["products_created"] == 0


def test_unchanged_pictures_are_not_fetched_again_and_changed_ones_are(shop: Shop, host: PictureHost) -> None:
    """The host is asked with what it said; where it says nothing, the bytes decide."""
    client, application = shop
    host.pictures |= {"/a.jpg": picture("red"), "/b.jpg": picture("blue")}
    table = f"product_id,image\na,{host.url('/a.jpg')}\nb,{host.url('/b.jpg')}\n"
    assert _send(client, table)["counts"]["images_added"] == 2
    before = {name: client.get(f"/v1/products/{name}").json()["images"][0]["id"] for name in "ab"}
    host.pictures["/a.jpg"] = picture("green")
    counts = _send(client, table)["counts"]
    assert (counts["images_added"], counts["images_unchanged"]) == (1, 1)
    assert [tag is not None for _, tag in host.asked] == [False, False, True, True]
    after = {name: client.get(f"/v1/products/{name}").json()["images"] for name in "ab"}
    assert [len(images) for images in after.values()] == [1, 1]
    assert after["a"][0]["id"] != before["a"]
    assert after["b"][0]["id"] == before["b"]
    host.tags = False
    host.pictures["/b.jpg"] = picture("white")
    counts = _send(client, table)["counts"]
    assert (counts["images_added"], counts["images_unchanged"]) == (1, 1)
    assert host.asked[-1][1] is not None
    assert _send(client, table)["counts"]["images_unchanged"] == 2
    assert host.asked[-1][1] is None or host.asked[-2][1] is None  # what gave no tag with its new bytes has none
    assert application.catalogue.totals() == (2, 2)


def test_a_url_that_many_lines_name_is_fetched_once(shop: Shop, host: PictureHost) -> None:
    """Over batches, too, and each product has its picture. A host that is down costs few tries; all lines are told."""
    client, _ = shop
    host.pictures["/same.jpg"] = picture()
    rows = [f"p{number},{host.url('/same.jpg')}" for number in range(150)]
    assert _send(client, "\n".join(["product_id,image", *rows]))["counts"]["images_added"] == 150
    assert host.sent() == 1
    host.drops = True
    rows = [f"p{number},{host.url(f'/{number}.jpg')}" for number in range(200)]
    job = _send(client, "\n".join(["product_id,image", *rows]))
    assert (job["failed"], {error["code"] for error in job["errors"]}) == (200, {"fetch_failed"})
    assert "left alone" in job["errors"][-1]["message"]
    assert host.sent() <= 1 + 10  # eight are under way when the third fails


# Sync


def _filled(application: Application, count: int) -> None:
    application.catalogue.put_many([Product(f"p{number}") for number in range(count)])


def _table(*numbers: int) -> str:
    return "\n".join(["product_id,title", *(f"p{number},new" for number in numbers)])


def test_sync_deletes_what_the_file_does_not_name(shop: Shop, host: PictureHost) -> None:
    """With its pictures and their files; a line with an error still names its product."""
    client, application = shop
    host.pictures |= {f"/{n}.jpg": picture("red", spot=n) for n in range(10)}
    rows = [f"p{number},,{host.url(f'/{number}.jpg')}" for number in range(10)]
    _send(client, "\n".join(["product_id,price,image", *rows]))
    job = _send(client, "\n".join(["product_id,price,image", *rows[:7], "p7,wrong,"]), mode="sync")
    assert (job["status"], job["counts"]["products_deleted"]) == ("succeeded", 2)
    assert _ids(application) == {f"p{number}" for number in range(8)}
    assert len(list((application.settings.data_dir / "pictures").glob("??/*.jpg"))) == 8


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (_table(0, 1, 2, 3, 4, 5), "4 of 10 products"),
        ("product_id,title\n", "10 of 10 products"),
        (_table(*range(9)) + "\n,no id", "could not be read: 1."),
        (_table(*range(9)) + '\n"p9', "could not be read: 1."),
        ("title\nx", "could not be read: 1."),
    ],
)
def test_sync_refuses_to_delete_much_or_blindly(shop: Shop, table: str, said: str) -> None:
    """The job fails and says why; nothing is deleted, what the lines say is imported; with force it is done."""
    client, application = shop
    _filled(application, 10)
    job = _send(client, table, mode="sync")
    assert job["status"] == "failed"
    assert said in job["message"]
    assert "force=true" in job["message"]
    assert len(_ids(application)) == 10
    assert job["counts"]["products_updated"] == table.count(",new")
    forced = _send(client, table, mode="sync", force=True)
    assert (forced["status"], len(_ids(application))) == ("succeeded", table.count(",new"))


def test_sync_leaves_products_that_came_after_the_file(shop: Shop) -> None:
    """One that the shop wrote while the import waited is not deleted for a file that cannot know it."""
    client, application = shop
    _filled(application, 4)
    application.job_runner.stop()
    reply = client.post("/v1/imports", content=_table(0, 1, 2), headers=CSV, params={"mode": "sync"})
    application.catalogue.put(Product("late"))
    assert _runner(application).run_next()
    assert _ended(client, reply.json()["id"])["counts"]["products_deleted"] == 1
    assert _ids(application) == {"p0", "p1", "p2", "late"}


def test_unnamed_products_are_followed_record_by_record() -> None:
    """A line that names nothing makes all that is left uncertain, unless nothing is left."""
    unnamed = Unnamed({"a"})
    broken = RecordError("f", 2, None, "invalid_input", "x")
    assert list(unnamed.following([broken])) == [broken]
    with pytest.raises(DeletionRefused):
        unnamed.check()
    list(unnamed.following([RecordError("f", 3, "a", "invalid_input", "x")]))
    unnamed.check()


# Turns, ends and leases


def _runner(application: Application, lease_s: float = 30.0) -> JobRunner:
    folder = application.settings.data_dir / "imports"
    return JobRunner(
        application.database, application.catalogue, application.importer, folder, lease_s=lease_s
    )  # fmt: skip


def _submitted(application: Application, *lines: str, **how: Any) -> UUID:
    with application.jobs.upload() as upload:
        upload.write("\n".join(lines).encode())
        return application.jobs.submit(upload, format="csv", **how).job_id


def test_imports_run_one_after_the_other_in_their_order(application: Application) -> None:
    """The later of two files that say different things has the last word."""
    for title in ("first", "second", "third"):
        _submitted(application, "product_id,title", f"a,{title}")
    runner = _runner(application)
    seen = []
    while runner.run_next():
        seen.append(application.catalogue.get("a").product.title)
    assert seen == ["first", "second", "third"]


def test_a_job_that_waits_or_runs_is_cancelled_at_once(shop: Shop, host: PictureHost) -> None:
    """What was committed stays, the batch at hand is not written, and the jobs behind have their turn."""
    client, application = shop
    host.pictures |= {f"/{n}.jpg": picture("red", spot=n % 50) for n in range(100)}
    host.free_requests = 64
    rows = [f"p{number},{host.url(f'/{number}.jpg')}" for number in range(100)]
    running = client.post("/v1/imports", content="\n".join(["product_id,image", *rows]), headers=CSV).json()["id"]
    waiting = client.post("/v1/imports", content="product_id\nnever", headers=CSV).json()["id"]
    behind = client.post("/v1/imports", content="product_id\nbehind", headers=CSV).json()["id"]
    assert host.reached.wait(60)
    assert client.get(f"/v1/jobs/{running}").json()["done"] == 64
    assert client.post(f"/v1/jobs/{waiting}/cancel").json()["status"] == "cancelled"
    cancelled = client.post(f"/v1/jobs/{running}/cancel").json()
    assert (cancelled["status"], cancelled["done"]) == ("cancelled", 64)
    host.opened.set()
    assert _ended(client, behind)["status"] == "succeeded"
    assert _ids(application) == {f"p{number}" for number in range(64)} | {"behind"}
    assert len(list((application.settings.data_dir / "pictures").glob("??/*.jpg"))) == 64
    assert client.post(f"/v1/jobs/{behind}/cancel").json()["status"] == "succeeded"
    assert _files(application) == []
    assert client.post(f"/v1/jobs/{uuid4()}/cancel").status_code == 404


def test_a_runner_that_was_taken_for_dead_can_write_nothing_more(
    settings: Settings, host: PictureHost, tmp_path: Path
) -> None:
    """Its job is another's when its lease has ended; its batch is rolled back, and nothing is counted twice."""
    host.pictures |= {f"/{n}.jpg": picture("red", spot=n % 50) for n in range(80)}
    host.free_requests = 64
    rows = [f"p{number},{host.url(f'/{number}.jpg')}" for number in range(80)]
    told = settings.model_copy(update={"allowed_image_hosts": host.name})
    with open_application(told) as application, served(application) as client:
        job_id = str(_submitted(application, "product_id,image", *rows))
        assert host.reached.wait(60)
        with application.database.transaction() as connection:
            connection.execute("UPDATE seesame.jobs SET leased_until = now() - interval '1 s', status = 'queued'")
            connection.execute("UPDATE seesame.jobs SET lease_token = NULL")
        host.free_requests = 1_000_000
        assert _runner(application).run_next()
        job = _ended(client, job_id)
        host.opened.set()
        application.job_runner.stop()
    assert (job["status"], job["done"], job["counts"]["products_created"]) == ("succeeded", 80, 80)
    assert job["counts"]["images_added"] == 80
    with open_application(told) as application:
        assert application.catalogue.totals() == (80, 80)


def test_a_stopped_run_finishes_its_batch_and_is_taken_up_again(application: Application, tmp_path: Path) -> None:
    """By the next runner at once: the lease is given back."""
    job_id = _submitted(application, "product_id", *(f"p{number}" for number in range(200)))
    runner = _runner(application)
    runner._on_batch = lambda _: runner.stop()
    assert runner.run_next()
    job = application.jobs.get(job_id)
    assert (job.status, job.done, application.catalogue.totals()[0]) == ("queued", 64, 64)
    assert _runner(application).run_next()
    job = application.jobs.get(job_id)
    assert (job.status, job.done, job.counts["products_created"], job.failed) == ("succeeded", 200, 200, 0)


def test_a_job_that_ends_its_process_each_time_is_given_up(application: Application) -> None:
    """After five claims without a batch; progress makes the count begin anew."""
    job_id = _submitted(application, "product_id", "a")
    with application.database.transaction() as connection:
        connection.execute("UPDATE seesame.jobs SET attempts = 5")
    assert _runner(application).run_next()
    job = application.jobs.get(job_id)
    assert job.status == "failed"
    assert "5 times" in (job.message or "")


def test_a_fault_of_ours_fails_the_job_and_not_the_process(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message tells no detail, and the next job runs."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    first, second = _submitted(application, "product_id", "a"), _submitted(application, "product_id", "b")
    with monkeypatch.context() as patched:
        patched.setattr(job_runner, "read_records", broken)
        assert _runner(application).run_next()
    assert application.jobs.get(first).message == "Something went wrong here; the log has the details."
    assert _runner(application).run_next()
    assert application.jobs.get(second).status == "succeeded"


def test_only_so_many_jobs_wait_and_errors_are_kept(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """More files are refused with 429 until some have ended; of the errors all are counted."""
    client, application = shop
    monkeypatch.setattr(jobs, "MAX_LIVE", 1)
    monkeypatch.setattr(job_runner, "MAX_ERRORS", 150)
    application.job_runner.stop()
    first = client.post("/v1/imports", content="product_id\n" + "a,b\n" * 400, headers=CSV)
    assert first.status_code == 202
    full = client.post("/v1/imports", content="product_id\na", headers=CSV)
    assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (429, "too_many_jobs", "30")
    assert len(_files(application)) == 1
    assert _runner(application).run_next()
    job = client.get(f"/v1/jobs/{first.json()['id']}").json()
    assert (job["errors_total"], len(job["errors"])) == (400, 100)
    assert len(client.get(f"/v1/jobs/{job['id']}/errors").text.splitlines()) == 151


def test_old_jobs_and_stray_files_are_swept(application: Application) -> None:
    """What ended long ago is forgotten with its errors; what waits, or has just come, stays."""
    old, lost, fresh = (_submitted(application, "product_id", name) for name in ("", "b", "c"))
    assert _runner(application).run_next()
    folder = application.settings.data_dir / "imports"
    (folder / f"{lost}.csv").unlink()
    (folder / f"{uuid4()}.csv").touch()
    strays = [folder / f"{uuid4()}.csv", folder / ".x.part"]
    for path in (*strays, folder / f"{fresh}.csv"):
        path.touch()
        os.utime(path, (time.time() - 90_000,) * 2)
    ended = [folder / f"{old}.csv"]
    ended[0].touch()
    with application.database.transaction() as connection:
        connection.execute("UPDATE seesame.jobs SET created_at = now() - interval '15 days' WHERE job_id = %s", [lost])
    _runner(application).sweep()
    assert not any(path.exists() for path in (*strays, *ended))
    assert len(_files(application)) == 2
    assert (application.jobs.get(lost).status, application.jobs.get(fresh).status) == ("failed", "queued")
    with application.database.transaction() as connection:
        connection.execute("UPDATE seesame.jobs SET ended_at = now() - interval '15 days' WHERE ended_at IS NOT NULL")
    _runner(application).sweep()
    with pytest.raises(NotFound):
        application.jobs.get(old)
    assert application.jobs.errors(old) == []


def test_a_rehearsal_tells_what_would_happen_and_writes_nothing(application: Application, tmp_path: Path) -> None:
    """New, changed and unchanged products, as the import then counts them."""
    table = tmp_path / "products.csv"
    table.write_text("product_id,title,price,size\na,A,1.50,1\nb,B,2,2\n")
    application.importer.run(read_records(table))
    table.write_text("product_id,title,price,size\na,A,1.5,1\nb,Bb,2,2\nc,C,3,3\nd,D,x,\n")
    told = application.importer.rehearse(read_records(table))
    assert (told.products_created, told.products_updated, told.products_unchanged, told.failed) == (1, 1, 1, 1)
    assert application.catalogue.totals()[0] == 2
    done = application.importer.run(read_records(table))
    assert (done.products_created, done.products_updated, done.products_unchanged) == (1, 1, 1)


# Images that failed


def test_failures_are_listed_and_tried_again(shop: Shop, host: PictureHost) -> None:
    """With the reason in words, by page; one product's or all."""
    client, application = shop
    application.indexer.stop()
    names = ("a", "b")
    for name in names:
        client.put(f"/v1/products/{name}", json={"title": f"The {name}"})
        client.post(f"/v1/products/{name}/images", files={"image": picture("red", spot=ord(name) % 50)})
    for path in (application.settings.data_dir / "pictures").glob("??/*.jpg"):
        path.unlink()
    with open_application(application.settings) as other:
        assert other.indexer.run_once()[0].failed == 2
    listed = client.get("/v1/failures", params={"limit": 1, "offset": 1}).json()
    assert listed["total"] == 2
    (failure,) = listed["failures"]
    assert (failure["product_id"], failure["title"], failure["code"]) == ("b", "The b", "picture_missing")
    assert failure["image"]["url"].startswith("/v1/images/")
    assert (failure["attempts"], failure["given_up"], failure["next_try_at"] is None) == (1, False, False)
    assert "import the product again" in failure["message"]
    with application.database.transaction() as connection:
        connection.execute("UPDATE seesame.image_work SET next_try_at = 'infinity'")
    given_up = client.get("/v1/failures").json()["failures"]
    assert [(each["given_up"], each["next_try_at"]) for each in given_up] == [(True, None)] * 2
    assert client.post("/v1/failures/retry", json={"product_id": "a"}).json() == {"retried": 1}
    assert client.post("/v1/failures/retry", json={}).json() == {"retried": 1}
    assert client.get("/v1/failures").json() == {"failures": [], "total": 0}
    for wrong in ({"product_id": "\0"}, {"product": "a"}, {"product_id": 5}):
        assert client.post("/v1/failures/retry", json=wrong).status_code == 422
