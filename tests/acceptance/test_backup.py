"""The commands of docs/backup.md, run as they stand there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from seesame.application import open_application
from seesame.db import indexes
from seesame.db.spaces import embeddings_table
from seesame.queries import LikeImage, Query
from seesame.settings import Settings
from seesame.types import Product
from tests.conftest import picture, plain_database, shop_settings

PAGE = Path(__file__).parents[2] / "docs" / "backup.md"
COLOURS = ["red", "green", "blue", "teal"]


def _blocks(heading: str) -> list[list[str]]:
    """The commands of the console blocks under a heading."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```console\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return [re.split(r"^\$ ", block, flags=re.MULTILINE)[1:] for block in blocks]


(BACK_UP,), (BACK_UP_BARE,) = _blocks("Back up"), _blocks("Into a PostgreSQL without pgvector")
RESTORE, TO_OLDER = _blocks("Restore")
RESTORE_BARE = [*TO_OLDER, *RESTORE[2:]]  # without the first line, and the second for PostgreSQL before 17


@contextmanager
def _plain(folder: Path, cache_dir: Path) -> Iterator[Settings]:
    """A shop on an empty database of a PostgreSQL without pgvector."""
    with plain_database() as dsn:
        yield shop_settings(dsn, folder, cache_dir)


@contextmanager
def _embedded(folder: Path, cache_dir: Path) -> Iterator[Settings]:
    """A shop with an embedded PostgreSQL of its own."""
    yield shop_settings("", folder, cache_dir).model_copy(update={"database_url": None})


SHOPS = {"embedded": _embedded, "plain": _plain}


def _run(commands: list[str], folder: Path, settings: Settings) -> str:
    """Runs commands as a user's shell would, in the folder where `backup/` is; what it said."""
    told = {"SEESAME_DATA_DIR": str(settings.data_dir), "SEESAME_CACHE_DIR": str(settings.cache_dir)}
    if settings.database_url is not None:
        told["DATABASE_URL"] = settings.database_url.get_secret_value()
    told["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["bash", "-euo", "pipefail", "-c", "".join(commands)]
    done = subprocess.run(command, cwd=folder, env=os.environ | told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _fill(settings: Settings) -> None:
    with open_application(settings) as application:
        for colour in COLOURS:
            application.catalogue.put(Product(colour, title=f"A {colour} thing"))
            application.catalogue.add_image(colour, picture(colour))
        application.indexer.run_once()
        (space,) = application.spaces.all()
        if space.vector_type == "halfvec":  # with so few vectors it has no index by itself
            with application.database.session() as connection:
                indexes.create(connection, embeddings_table(space.space_id), len(COLOURS), space)


def _check(settings: Settings, *, index_is_valid: bool | None) -> None:
    """Nothing is missing, every product is found by its picture, and new ones come in."""
    with open_application(settings) as application:
        (state,) = application.spaces.states()
        assert (state.vectors, state.missing, state.index_is_valid) == (len(COLOURS), 0, index_is_valid)
        for colour in COLOURS:
            (image,) = application.catalogue.get(colour).images
            assert application.catalogue.picture(image.image_id)
            page = application.search.find(LikeImage(image.image_id), Query()).page
            assert page.hits[0].product.product_id == colour
            assert len(page.hits) == len(COLOURS)
        application.catalogue.put(Product("new"))
        new = application.catalogue.add_image("new", picture("black"))
        assert [progress.done for progress in application.indexer.run_once()] == [1]
        assert application.search.find(LikeImage(new.image_id), Query()).page.hits[0].product.product_id == "new"


@pytest.mark.parametrize(
    ("before", "after", "back_up", "restore"),
    [
        pytest.param("embedded", "embedded", BACK_UP, RESTORE, id="with pgvector"),
        pytest.param("plain", "plain", BACK_UP, RESTORE_BARE, id="without pgvector"),
        pytest.param("embedded", "plain", BACK_UP_BARE, RESTORE_BARE, id="from one with to one without"),
    ],
)
def test_what_is_restored_is_what_was_backed_up(
    tmp_path: Path, cache_dir: Path, before: str, after: str, back_up: list[str], restore: list[str]
) -> None:
    """No migration is due, no vector missing, the index valid; searches and writes go on."""
    with SHOPS[before](tmp_path / "before", cache_dir) as old, SHOPS[after](tmp_path / "after", cache_dir) as new:
        _fill(old)
        _run(back_up, tmp_path, old)
        assert "The schema is up to date." in _run(restore, tmp_path, new)
        if back_up == BACK_UP_BARE:
            _run(["seesame index"], tmp_path, new)
        _check(new, index_is_valid=True if after == "embedded" else None)
