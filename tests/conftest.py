"""Real parts for the tests: PostgreSQL, models, pictures, a running server."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import httpx2
import numpy as np
import psycopg
import pytest
from PIL import Image
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from seesame.application import Application, open_application
from seesame.cli.serve import serving
from seesame.db.embedded import EmbeddedPostgres
from seesame.db.migrate import migrate
from seesame.db.pool import Database
from seesame.demo.catalogue import draw_packshots, draw_photo, draw_product, plan_products, write_csv
from seesame.embedding.local import LocalEmbedder
from seesame.images import ImageLimits
from seesame.models.fallback import FallbackModel
from seesame.records import read_records
from seesame.settings import ClipSettings, Settings, WorkerSettings
from tests.picture_host import picture_host
from tests.requirements import environment

_TEMPLATE = "seesame_template"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Nothing of the developer's: no settings, no hub, and temporary folders of this run's own.

    pytest closes its shared folder to other users at the start of each run, and the PostgreSQL of a run by root is
    another user.
    """
    for variable in {**WorkerSettings.variables(), **ClipSettings.variables()}.values():
        os.environ.pop(variable, None)
    os.environ["HF_HUB_OFFLINE"] = "1"
    if config.option.basetemp is None:
        folder = tempfile.mkdtemp(prefix="seesame-test-")
        config.option.basetemp = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the converted fallback model is kept for the whole run."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def fallback(cache_dir: Path) -> LocalEmbedder:
    """The fallback embedder with its real weights."""
    return LocalEmbedder(FallbackModel.load(cache_dir), limits=ImageLimits())


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """One embedded server for the whole run, with a migrated database to copy."""
    with EmbeddedPostgres.start(tmp_path_factory.mktemp("postgres")) as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            for guard in ("fsync", "full_page_writes", "synchronous_commit"):  # nobody pulls this server's plug
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(guard)))
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        template = Database(make_conninfo(server.dsn, dbname=_TEMPLATE))
        migrate(template)
        yield server


@contextmanager
def copied_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database of one's own, copied from the migrated one; its connection string."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(copy.format(sql.Identifier(name), sql.Identifier(_TEMPLATE)))
        try:
            yield make_conninfo(postgres.dsn, dbname=name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def shop_settings(dsn: str, folder: Path, cache_dir: Path) -> Settings:
    """Settings of a shop on a database, on any free port."""
    return Settings(
        database_url=SecretStr(dsn),
        data_dir=folder / "data",
        cache_dir=cache_dir,
        port=0,
        decode_processes=0,  # a process less to start for each of hundreds of shops
        _env_file=None,  # type: ignore[call-arg]
    )


@contextmanager
def served(application: Application) -> Iterator[httpx2.Client]:
    """A client of a real server, over a real socket."""
    with serving(application) as server, httpx2.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A migrated, empty database of this test's own."""
    with copied_database(postgres) as dsn:
        yield dsn


@pytest.fixture
def empty_dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database that no migration has touched."""
    name = f"empty_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        yield make_conninfo(postgres.dsn, dbname=name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def rightless(empty_dsn: str) -> Iterator[Database]:
    """A database whose user owns the schema but may create neither schemas nor extensions."""
    role = f"shop_{uuid.uuid4().hex}"
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        connection.execute(sql.SQL("CREATE SCHEMA seesame AUTHORIZATION {}").format(sql.Identifier(role)))
    database = Database(make_conninfo(empty_dsn, user=role))
    yield database
    database.close()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA seesame CASCADE")
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@contextmanager
def plain_database() -> Iterator[str]:
    """An empty database of a PostgreSQL that has no pgvector."""
    server = environment("SEESAME_TEST_PLAIN_POSTGRES", "plain-postgres")
    name = f"plain_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield make_conninfo(server, dbname=name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def plain() -> Iterator[Database]:
    """A database in a PostgreSQL that has no pgvector, not opened yet."""
    with plain_database() as dsn:
        database = Database(dsn)
        yield database
        database.close()


@pytest.fixture
def database(dsn: str) -> Iterator[Database]:
    """An open pool on an empty catalogue."""
    database = Database(dsn)
    database.open()
    yield database
    database.close()


@pytest.fixture
def settings(dsn: str, tmp_path: Path, cache_dir: Path) -> Settings:
    """Settings of an empty shop of this test's own."""
    return shop_settings(dsn, tmp_path, cache_dir)


@pytest.fixture
def application(settings: Settings) -> Iterator[Application]:
    """All services on an empty catalogue."""
    with open_application(settings) as application:
        yield application


@pytest.fixture
def server(application: Application) -> Iterator[httpx2.Client]:
    """A client of a server with an empty catalogue."""
    with served(application) as client:
        yield client


@pytest.fixture(scope="module")
def shared_server(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path
) -> Iterator[httpx2.Client]:
    """A client of one server for all tests of a module: for requests that leave nothing behind."""
    with (
        copied_database(postgres) as dsn,
        open_application(shop_settings(dsn, tmp_path_factory.mktemp("shop"), cache_dir)) as application,
        served(application) as client,
    ):
        yield client


@dataclass(frozen=True)
class Shop:
    """A running server with a small drawn catalogue."""

    url: str
    photo: Path
    photo_product_id: str
    settings: Settings


@pytest.fixture(scope="session")
def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Shop]:
    """A part of the sample catalogue, imported and indexed, and a photo of one of its products."""
    with sample_shop(postgres, tmp_path_factory.mktemp("sample"), cache_dir, every=4) as shop:
        yield shop


@contextmanager
def sample_shop(
    postgres: EmbeddedPostgres,
    folder: Path,
    cache_dir: Path,
    *,
    every: int,
    prepare: Callable[[Application], None] = lambda application: None,  # noqa: ARG005
    image_host: str = "",
) -> Iterator[Shop]:
    """One in `every` products of the sample catalogue in a running server; `prepare` comes before they are indexed."""
    shown = "UMB-005"
    plan = plan_products(7)
    plan = tuple(replace(p, pictures=p.pictures[:1]) for p in plan if p.number % every == 0 or p.product_id == shown)
    settings = shop_settings("", folder, cache_dir).model_copy(update={"allowed_image_hosts": image_host})
    (folder / "pictures").mkdir()
    write_csv(folder / "products.csv", plan)
    for product in plan:
        sheet = draw_product(product, seed=7)
        next(draw_packshots(product, sheet, seed=7)).save(folder / product.pictures[0])
        if product.product_id == shown:
            draw_photo(product, sheet, seed=7, background="wood").save(folder / "photo.jpg")
    with (
        copied_database(postgres) as dsn,
        open_application(settings.model_copy(update={"database_url": SecretStr(dsn)})) as application,
        serving(application) as server,
    ):
        prepare(application)
        assert application.importer.run(read_records(folder / "products.csv")).errors == []
        application.indexer.run_once(finish=True)
        yield Shop(server.url, folder / "photo.jpg", shown, application.settings)


def picture(colour: str = "red", size: tuple[int, int] = (64, 80), *, format: str = "JPEG", spot: int = 0) -> bytes:  # noqa: A002
    """A small picture; `spot` makes pictures of one colour differ."""
    image = Image.new("RGB", size, colour)
    image.paste("white", (4, 4, 8 + spot, 9 + spot))
    out = BytesIO()
    image.save(out, format)
    return out.getvalue()


def patches(number: int) -> bytes:
    """A picture of coloured squares, others for each number: models tell them apart, also damaged ones."""
    colours = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
    out = BytesIO()
    Image.fromarray(colours).resize((120, 120), Image.Resampling.NEAREST).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="session")
def image_host() -> Iterator[str]:
    """A host with two pictures, as `localhost:port`."""
    with picture_host() as host:
        host.pictures |= {"/shoe.jpg": picture("orange"), "/blue.jpg": picture("blue")}
        yield host.name
