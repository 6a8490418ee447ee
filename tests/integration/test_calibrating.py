"""Calibration by the catalogue's own pictures, with pgvector and without."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from seesame.application import Application, open_application
from seesame.calibrating import Calibrator
from seesame.db import calibration as rows
from seesame.db import spaces
from seesame.db.migrate import migrate
from seesame.db.pool import Database
from seesame.embedding.local import LocalEmbedder
from seesame.errors import SpaceConflict
from seesame.pictures import PictureStore
from seesame.search import Query
from seesame.spaces import Spaces
from seesame.types import Product, Space, SpaceIdentity, Vectors
from tests.catalogue_rows import add_images, unit
from tests.conftest import picture, shop_settings
from tests.models import MeanColour

DIMENSIONS = 24
COLOURS = ("red", "green", "blue", "white", "black", "orange", "purple", "teal")


@pytest.fixture(params=["pgvector", "plain"])
def any_database(request: pytest.FixtureRequest) -> Database:
    """A migrated database of either kind."""
    database: Database = request.getfixturevalue("database" if request.param == "pgvector" else "plain")
    if request.param == "plain":
        migrate(database)
        database.open()
    return database


@pytest.fixture
def calibrator(any_database: Database, tmp_path: Path) -> Iterator[Calibrator]:
    held = Spaces(any_database, LocalEmbedder(MeanColour()))
    yield Calibrator(any_database, PictureStore(tmp_path / "pictures"), held)
    held.close()


def _space(database: Database, vectors: Vectors, products: list[str]) -> Space:
    with database.transaction() as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, DIMENSIONS), "candidate")
        add_images(connection, space, vectors, products=[Product(product_id) for product_id in products])
    return _read(database, space)


def _read(database: Database, space: Space) -> Space:
    with database.transaction() as connection:
        return next(s for s in spaces.list_spaces(connection) if s.space_id == space.space_id)


def _pairs(count: int) -> tuple[Vectors, list[str]]:
    """Products of two pictures that are like each other."""
    rng = np.random.default_rng(8)
    first = rng.normal(size=(count, DIMENSIONS))
    both = np.concatenate([first, first + 0.3 * rng.normal(size=first.shape)])
    return unit(both), [f"p{number}" for number in range(count)] * 2


def test_pictures_of_one_product_show_what_is_alike(any_database: Database, calibrator: Calibrator) -> None:
    """The score parts them from different products, and is kept with the space."""
    space = _space(any_database, *_pairs(150))
    measured = calibrator.measure(space, None)
    calibration = measured.calibration
    assert (calibration.source, calibration.images) == ("pictures", 300)
    assert 100 <= calibration.positives <= 150
    assert calibration.negatives > 40_000
    assert np.mean([calibration.score(similarity) for similarity in measured.alike]) > 0.95
    assert np.mean([calibration.score(similarity) for similarity in measured.different]) < 0.05
    assert np.mean([calibration.is_match(similarity) for similarity in measured.alike]) > 0.95
    assert calibrator.measure(space, None).calibration == calibration  # drawn by a seed
    calibrator.store(space, calibration)
    assert _read(any_database, space).calibration == calibration


def test_the_same_file_in_two_products_says_nothing(any_database: Database, calibrator: Calibrator) -> None:
    """Such a pair is neither alike nor different."""
    space = _space(any_database, *_pairs(30))
    shared = "product_id IN ('p0', 'p1')"
    with any_database.transaction() as connection:
        connection.execute(f"UPDATE seesame.product_images SET sha256 = 'x' WHERE {shared}".encode())
        connection.execute(f"UPDATE seesame.embeddings_{space.space_id} SET sha256 = 'x' WHERE {shared}".encode())
    calibration = calibrator.measure(space, None).calibration
    assert calibration.negatives == 60 * 59 // 2 - 30 - 4
    assert calibration.positives == 28


def test_without_pairs_and_model_the_threshold_alone_is_known(any_database: Database, calibrator: Calibrator) -> None:
    """One picture each, and no embedder to try a camera with."""
    vectors, _ = _pairs(40)
    space = _space(any_database, vectors[:40], [f"p{number}" for number in range(40)])
    measured = calibrator.measure(space, None)
    assert (measured.calibration.source, measured.calibration.positives) == ("negatives", 0)
    assert measured.calibration.threshold == pytest.approx(float(np.quantile(measured.different, 0.99)))


def test_too_few_products_are_not_calibrated(any_database: Database, calibrator: Calibrator) -> None:
    """The error says how many it takes."""
    space = _space(any_database, *_pairs(19))
    with pytest.raises(SpaceConflict, match="20 products"):
        calibrator.measure(space, None)


def test_a_space_that_began_anew_keeps_nothing_of_the_old(any_database: Database, calibrator: Calibrator) -> None:
    """What was measured before comes too late."""
    space = _space(any_database, *_pairs(30))
    calibration = calibrator.measure(space, None).calibration
    calibrator.store(replace(space, created_at=space.created_at - timedelta(seconds=1)), calibration)
    assert _read(any_database, space).calibration is None
    calibrator.store(space, calibration)
    with any_database.transaction() as connection:
        assert spaces.retire(connection, space)
        spaces.register(connection, SpaceIdentity("toy", "0" * 64, DIMENSIONS), "candidate", revive=True)
    assert _read(any_database, space).calibration is None


def test_a_sample_is_drawn_by_lot(any_database: Database, calibrator: Calibrator) -> None:
    """The same for a seed, another for another, all where there are no more."""
    space = _space(any_database, *_pairs(100))
    with any_database.transaction() as connection:
        drawn = [set(rows.draw(connection, space, 50, seed=seed).image_ids) for seed in (1, 1, 2)]
        everything = rows.draw(connection, space, 1_000, seed=3)
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(ids) for ids in drawn] == [50, 50, 50]
    assert len(set(everything.image_ids)) == len(everything.vectors) == 200


def _fill(application: Application, numbers: range) -> None:
    for number in numbers:
        application.catalogue.put(Product(f"p{number}", title=f"Thing {number}"))
        image = picture(COLOURS[number % 8], (40 + number, 90 - number), spot=number)
        application.catalogue.add_image(f"p{number}", image)


@pytest.fixture(params=["pgvector", "plain"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, cache_dir: Path) -> Iterator[Application]:
    """A shop of 24 products with one picture each, on either kind of database."""
    dsn = request.getfixturevalue("dsn") if request.param == "pgvector" else request.getfixturevalue("plain").dsn
    with open_application(shop_settings(dsn, tmp_path, cache_dir)) as application:
        _fill(application, range(24))
        yield application


def test_a_space_is_calibrated_when_it_is_complete(shop: Application) -> None:
    """By a camera's pictures of products that have one each; again only after the catalogue has changed much."""
    shop.calibrator.run_due()
    assert shop.spaces.primary().calibration is None
    shop.indexer.run_once(finish=True)
    shop.calibrator.run_due()
    first = shop.spaces.primary().calibration
    assert first is not None
    assert (first.source, first.positives, first.images) == ("camera", 24, 24)
    assert first.slope > 0

    _fill(shop, range(24, 30))
    shop.indexer.run_once(finish=True)
    shop.calibrator.run_due()
    assert shop.spaces.primary().calibration == first
    _fill(shop, range(30, 40))
    shop.calibrator.run_due()
    assert shop.spaces.primary().calibration == first  # ten are on their way
    shop.indexer.run_once(finish=True)
    shop.calibrator.run_due()
    second = shop.spaces.primary().calibration
    assert second is not None
    assert second.images == 40


def test_an_answer_tells_scores_and_whether_it_is_good(shop: Application) -> None:
    """Nothing of it before the space is calibrated; words have no similarity, so no score."""
    shop.indexer.run_once(finish=True)
    photo = picture("red", (40, 90), spot=0)
    before = shop.search.by_photo(photo, Query())
    assert before.good_match is None
    assert {hit.score for hit in before.page.hits} == {None}
    shop.calibrator.run_due()
    shop.spaces.all()
    after = shop.search.by_photo(photo, Query())
    scores = [hit.score for hit in after.page.hits]
    assert scores == sorted((score for score in scores if score is not None), reverse=True)
    assert after.good_match is True
    assert shop.search.by_text("thing", Query()).good_match is None
