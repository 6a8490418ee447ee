"""Processes that are killed or ended in the middle of an import."""

import signal
import time
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from seesame.importing import BATCH
from tests.conftest import picture
from tests.faults.conftest import Figures
from tests.faults.processes import GOLDENS, Process, eventually
from tests.picture_host import PictureHost, picture_host

RECORDS = 300
LEASE_S = 3
POLL_S = 5


def test_an_import_survives_its_processes(dsn: str, tmp_path: Path, cache_dir: Path, figures: Figures) -> None:
    """Killed twice in the middle of a batch and ended once: every record is there once, and counted once."""
    with picture_host() as host:
        host.pictures = {f"/{n}.jpg": picture(f"rgb({n % 256},{n // 256},90)", spot=n % 50) for n in range(RECORDS)}
        told = {
            "DATABASE_URL": dsn,
            "SEESAME_DATA_DIR": str(tmp_path / "data"),
            "SEESAME_CACHE_DIR": str(cache_dir),
            "SEESAME_MODEL": str(GOLDENS / "immich"),
            "SEESAME_ALLOWED_IMAGE_HOSTS": host.name,
            "PYTHON_IMAGE_SERVICE_URL": "http://127.0.0.1:9",
            "FAULTS_LEASE_S": str(LEASE_S),
        }
        api = Process(tmp_path, "api", **told)
        try:
            job, waits = _imported(api, host)
        finally:
            api.close()
    with psycopg.connect(dsn) as connection:
        images = connection.execute("SELECT product_id, bytes_ref FROM seesame.product_images").fetchall()
    name = f"Import of {RECORDS} records, its process killed twice and ended once"
    counts = job["counts"]
    figures.none(f"{name}: records missing", RECORDS - job["succeeded"])
    figures.none(f"{name}: products missing", RECORDS - len({product_id for product_id, _ in images}))
    figures.none(f"{name}: images doubled", len(images) - len({product_id for product_id, _ in images}))
    figures.none(f"{name}: counted twice", counts["products_created"] + counts["images_added"] - 2 * RECORDS)
    figures.none(f"{name}: images without a file", sum(not _file(tmp_path, ref).exists() for _, ref in images))
    figures.at_most(f"{name}: until it was taken up again", max(waits), LEASE_S + POLL_S, "s")
    again = host.sent() - RECORDS
    figures.tell(f"{name}: pictures fetched again", f"{again}")
    assert again <= len(waits) * BATCH  # the batch at hand of each process


def _imported(api: Process, host: PictureHost) -> tuple[dict[str, Any], list[float]]:
    """The job as it ended, and how long it waited after each end of its process."""
    waits = []
    rows = [f"p{number},{host.url(f'/{number}.jpg')}" for number in range(RECORDS)]
    api.start()
    api.wait_ready()
    _close_after(host, 100)
    with httpx2.Client(base_url=api.url, timeout=30, trust_env=False) as client:
        body = "\n".join(["product_id,image", *rows])
        sent = client.post("/v1/imports", content=body, headers={"Content-Type": "text/csv"})
    job_id = sent.raise_for_status().json()["id"]
    for end in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        assert host.reached.wait(60)
        done = _job(api, job_id)["done"]
        api.signal(end)
        host.opened.set()
        api.popen.wait(30)
        _close_after(host, host.sent() + 70)
        api.start()
        api.wait_ready()
        ready = time.monotonic()
        eventually(lambda done=done: host.reached.is_set() or _job(api, job_id)["done"] > done)  # type: ignore[misc]
        waits.append(time.monotonic() - ready)
    host.free_requests = 1_000_000
    host.opened.set()
    eventually(lambda: _job(api, job_id)["status"] == "succeeded")
    return _job(api, job_id), waits


def _close_after(host: PictureHost, requests: int) -> None:
    host.free_requests = requests
    host.reached.clear()
    host.opened.clear()


def _job(api: Process, job_id: str) -> dict[str, Any]:
    reply = api.get(f"/v1/jobs/{job_id}")
    assert reply is not None
    job: dict[str, Any] = reply.json()
    return job


def _file(folder: Path, ref: str) -> Path:
    return folder / "data" / "pictures" / ref
