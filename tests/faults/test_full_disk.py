"""Disks that are full, of the whole data folder or of the pictures alone, while a shop writes and imports."""

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx2
import psycopg
import pytest
from PIL import Image

from seesame.application import open_application
from seesame.db.embedded import EmbeddedPostgres
from seesame.errors import StorageFull
from seesame.importing import BATCH
from seesame.records import read_records
from tests.conftest import picture, served, shop_settings
from tests.faults.conftest import Figures
from tests.faults.processes import GOLDENS, eventually, postmaster, running
from tests.faults.searches import Customers, searching
from tests.faults.writes import Writers, missing_vectors, writing
from tests.requirements import require_or_skip

BACK_S = 10  # of them up to 8 until the server is started again
LEASE_S = 3
MANY = 150  # pictures of an import: more than one batch
NOISE = Image.effect_noise((1_400, 1_000), 80)  # as PNG more than the megabyte that an upload may have in memory


class Disk:
    """A small disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, *, leave: int = 0) -> None:
        """Leaves no more than so many bytes."""
        with self._filler.open("wb", buffering=0) as filler, contextlib.suppress(OSError):  # others fill it, too
            while (free := shutil.disk_usage(self.folder).free) > leave:
                filler.write(bytes(free - leave))

    def clear(self) -> None:
        """Makes room again."""
        self._filler.unlink()


@contextmanager
def _mounted(folder: Path, megabytes: int) -> Iterator[Disk]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        require_or_skip("mount", "there is no mount here")
    if done.returncode != 0:
        require_or_skip("mount", f"a small disk cannot be mounted: {done.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        left = postmaster(folder)
        if left is not None:
            left.send_signal(signal.SIGQUIT)
            left.wait(30)
        subprocess.run(["umount", str(folder)], check=True)


def _refused(writers: Writers, status: int) -> int:
    return sum(write.status == status for write in list(writers.writes))


def _tell(figures: Figures, name: str, writers: Writers, gone: list[str]) -> None:
    acknowledged = f"{len(writers.products):,} products and {len(writers.images):,} pictures"
    figures.none(f"{name}: acknowledged and gone", len(gone), acknowledged)
    figures.tell(f"{name}: refused", f"{_refused(writers, 507):,} by 507, {_refused(writers, 503):,} by 503")
    refused = [write for write in writers.writes if not write.done]
    figures.none(f"{name}: refused otherwise", sum(w.status not in (503, 507) or not w.is_problem for w in refused))


def _images_without_a_file(dsn: str, data_dir: Path) -> int:
    with psycopg.connect(dsn) as connection:
        refs = connection.execute("SELECT bytes_ref FROM seesame.product_images").fetchall()
    return sum(not (data_dir / "pictures" / ref).exists() for (ref,) in refs)


def _crash(dsn: str) -> None:
    """Has the server ask for new files of its log until it panics for want of room."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(dsn, autocommit=True) as connection:
        while True:
            connection.execute("SELECT pg_logical_emit_message(true, 'faults', 'x'), pg_switch_wal()")


def test_a_full_data_folder_loses_nothing_that_was_acknowledged(
    tmp_path: Path, cache_dir: Path, figures: Figures
) -> None:
    """Neither while pictures and tables find no room, nor when PostgreSQL panics for its log; room heals all."""
    photo = picture("teal", spot=3)
    with _mounted(tmp_path / "disk", 192) as disk:
        environment = {
            "SEESAME_DATA_DIR": str(disk.folder),
            "SEESAME_CACHE_DIR": str(cache_dir),
            "SEESAME_MODEL": str(GOLDENS / "immich"),
            "FAULTS_LEASE_S": str(LEASE_S),
        }
        with running(tmp_path, "up", environment) as up:
            with writing(up.url, photo) as writers, searching(up.url, photo, customers=1) as customers:
                eventually(lambda: len(writers.images) > 10)
                disk.fill()
                eventually(lambda: _refused(writers, 507) > 10)
                _crash(EmbeddedPostgres(disk.folder).dsn)
                eventually(lambda: _refused(writers, 503) > 3)
                disk.clear()
                room = time.monotonic()
                back_s = eventually(lambda: writers.done_since(room)) - room
                images = len(writers.images)
                eventually(lambda: len(writers.images) > images)
            with httpx2.Client(base_url=up.url, timeout=30, trust_env=False) as client:
                gone = writers.gone(client)
                eventually(lambda: not any(missing_vectors(client)))
            bare = _images_without_a_file(EmbeddedPostgres(disk.folder).dsn, disk.folder)
            up.end()
        assert postmaster(disk.folder) is None
    name = "Full data folder of the embedded PostgreSQL"
    _tell(figures, name, writers, gone)
    figures.none(f"{name}: images without a file", bare)
    others = sum(answer.status not in (200, 503) for answer in customers.answers)
    figures.none(f"{name}: searches answered neither by 200 nor by 503", others, f"{len(customers.answers):,}")
    figures.at_most(f"{name}: from room to a write that succeeds", back_s, BACK_S, "s")


def test_a_full_disk_of_pictures_leaves_nothing_half_written(
    dsn: str, tmp_path: Path, cache_dir: Path, figures: Figures
) -> None:
    """Products without pictures are written, pictures and large uploads are 507, until there is room."""
    photo = BytesIO()
    NOISE.save(photo, "PNG")
    with _mounted(tmp_path / "disk", 16) as disk:
        environment = {
            "DATABASE_URL": dsn,
            "SEESAME_DATA_DIR": str(disk.folder),
            "SEESAME_CACHE_DIR": str(cache_dir),
            "TMPDIR": str(disk.folder),
        }
        with running(tmp_path, "api", environment) as api:
            large = Customers(api.url, photo.getvalue())
            with writing(api.url, picture("teal", spot=3)) as writers, large.client() as client:
                eventually(lambda: len(writers.images) > 10)
                assert large.search(client).status == 200
                disk.fill()
                eventually(lambda: _refused(writers, 507) > 10)
                assert large.search(client).status == 507
                _, image_id = next(iter(writers.images))
                assert client.get(f"/v1/images/{image_id}?size=thumb").status_code == 200
                disk.clear()
                room = time.monotonic()
                back_s = eventually(lambda: writers.done_since(room)) - room
                images = len(writers.images)
                eventually(lambda: len(writers.images) > images)
                assert large.search(client).status == 200
            with httpx2.Client(base_url=api.url, timeout=30, trust_env=False) as client:
                gone = writers.gone(client)
        bare = _images_without_a_file(dsn, disk.folder)
        files = len(list(disk.folder.glob("pictures/??/*")))
    name = "Full disk of the pictures"
    _tell(figures, name, writers, gone)
    figures.none(f"{name}: images without a file", bare)
    figures.none(f"{name}: files without an image", files - len(writers.images))
    figures.at_most(f"{name}: from room to a write that succeeds", back_s, BACK_S, "s")


def test_an_import_that_finds_no_room_writes_whole_batches(
    dsn: str, tmp_path: Path, cache_dir: Path, figures: Figures
) -> None:
    """No product is there without the picture that its line names; again with room, all are."""
    (tmp_path / "shop").mkdir()
    for number in range(MANY):
        (tmp_path / "shop" / f"{number}.jpg").write_bytes(picture("teal", (640, 640), spot=number))
    with _mounted(tmp_path / "disk", 16) as disk:
        settings = shop_settings(dsn, tmp_path, cache_dir).model_copy(update={"data_dir": disk.folder})
        with open_application(settings) as application:
            application.importer.run(read_records(tmp_path / "shop" / "0.jpg"))
            (first,) = disk.folder.glob("pictures/??/*")
            disk.fill(leave=(BATCH + MANY) // 2 * first.stat().st_blocks * 512)
            with pytest.raises(StorageFull):
                application.importer.run(read_records(tmp_path / "shop"))
            products, images = application.catalogue.totals()
            files = len(list(disk.folder.glob("pictures/??/*")))
            disk.clear()
            summary = application.importer.run(read_records(tmp_path / "shop"))
            assert application.catalogue.totals() == (MANY, MANY)
    assert 0 < products < MANY
    assert summary.products_unchanged == products
    name = f"Disk full in an import of {MANY} products with a picture each"
    figures.tell(f"{name}: written before", f"{products} products")
    figures.none(f"{name}: products without their picture", products - images)
    figures.none(f"{name}: files without an image", files - images)


def test_a_file_to_import_that_finds_no_room_makes_no_job(dsn: str, tmp_path: Path, cache_dir: Path) -> None:
    """507 and nothing left behind, however much of it had room; with room it is imported."""
    lines = b"product_id,description\n" + b"".join(b"p%d,%b\n" % (number, b"x" * 10_000) for number in range(500))
    with _mounted(tmp_path / "disk", 16) as disk:
        settings = shop_settings(dsn, tmp_path, cache_dir).model_copy(update={"data_dir": disk.folder})
        with open_application(settings) as application, served(application) as client:
            for leave in (0, 2_000_000):
                disk.fill(leave=leave)
                reply = client.post("/v1/imports", content=lines, headers={"Content-Type": "text/csv"})
                assert (reply.status_code, reply.json()["code"]) == (507, "storage_full")
                assert list((disk.folder / "imports").iterdir()) == []
                assert client.get("/v1/jobs").json()["total"] == 0
                disk.clear()
            reply = client.post("/v1/imports", content=lines, headers={"Content-Type": "text/csv"})
            job_id = reply.json()["id"]
            eventually(lambda: client.get(f"/v1/jobs/{job_id}").json()["status"] == "succeeded")
            assert application.catalogue.totals()[0] == 500
