"""Calibration by the catalogue's own pictures, with pgvector and without."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from seesame.application import Application, open_application
from seesame.calibration import Calibration
from seesame.camera import Kind
from seesame.db import spaces, trials
from seesame.db.pool import Database
from seesame.embedding.local import LocalEmbedder
from seesame.errors import SpaceConflict
from seesame.queries import LikeImage, LikeProduct, Part, Photo, Query, Words
from seesame.trials import Trial
from seesame.types import Product, Region, Space, SpaceIdentity
from tests.catalogue_rows import add_images, unit
from tests.conftest import patches, served, shop_settings
from tests.models import Thumbnail, use_thumbnails

PHOTO = patches(0)
SURE = Calibration(own=-10.0, rival=10.0, offset=-3.0, photos=30, images=24)


@pytest.fixture(params=["pgvector", "plain"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, cache_dir: Path) -> Iterator[Application]:
    """A shop of 20 products with one picture each, indexed, on either kind of database."""
    dsn = request.getfixturevalue("dsn") if request.param == "pgvector" else request.getfixturevalue("plain").dsn
    with open_application(shop_settings(dsn, tmp_path, cache_dir)) as application:
        use_thumbnails(application)
        _fill(application, range(20))
        yield application


@pytest.fixture
def empty(application: Application) -> Application:
    """A shop without products."""
    use_thumbnails(application)
    return application


@pytest.fixture
def calibrated(application: Application) -> Application:
    """A shop of eight products whose scores are steep."""
    application.spaces.add(LocalEmbedder(Thumbnail()))
    _fill(application, range(8))
    application.calibrator.store(application.spaces.primary(), SURE)
    application.spaces.all()
    return application


def _fill(application: Application, numbers: range) -> None:
    for number in numbers:
        _add(application, f"p{number}", number)
    application.indexer.run_once(finish=True)


def _add(application: Application, product_id: str, number: int) -> None:
    application.catalogue.put(Product(product_id, title=f"Thing {number}"))
    application.catalogue.add_image(product_id, patches(number))


def _tried(application: Application, kind: Kind, count: int) -> list[Trial]:
    return list(application.trials.run(*application.spaces.ready(), [kind], count=count, seed=1))


def test_a_space_is_calibrated_when_it_is_complete(shop: Application) -> None:
    """Again only after the catalogue has changed much; the same pictures then give the same."""
    _add(shop, "late", 20)
    shop.calibrator.run_due()
    assert shop.spaces.primary().calibration is None  # one is on its way
    shop.indexer.run_once(finish=True)
    shop.calibrator.run_due()
    first = shop.spaces.primary().calibration
    assert first is not None
    assert (first.photos, first.images) == (21, 21)
    assert first.own < 0
    for images, expected in ((15, 15), (31, 31), (13, 21), (32, 21)):
        shop.calibrator.store(shop.spaces.primary(), replace(first, images=images))
        shop.calibrator.run_due()
        assert shop.spaces.primary().calibration == replace(first, images=expected)


def test_a_product_with_several_pictures_is_to_be_found_by_another_one(empty: Application) -> None:
    """So the photo is less similar to it than to the picture that it was made from."""
    _add(empty, "several", 0)
    _add(empty, "several", 1)
    _add(empty, "single", 2)
    empty.indexer.run_once(finish=True)
    own = {trial.subject.product_id: trial.own for trial in _tried(empty, "none", 9)}
    assert own["single"] == pytest.approx(1.0, abs=5e-3)
    assert own["several"] < 0.99


def test_the_same_picture_in_another_product_does_not_count_against_it(empty: Application) -> None:
    """Nobody can tell the two apart."""
    for product_id, number in (("one", 0), ("same", 0), ("other", 1)):
        _add(empty, product_id, number)
    empty.indexer.run_once(finish=True)
    trials = {trial.subject.product_id: trial for trial in _tried(empty, "none", 9)}
    assert {trial.rank for trial in trials.values()} == {1}
    assert [hit.product.product_id for hit in trials["one"].others] == ["other"]


def test_what_cannot_be_calibrated_is_said_and_not_tried_again_and_again(
    empty: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """A space with too few products is left alone until it has grown."""
    caplog.set_level(logging.DEBUG, "seesame.calibrating")
    for numbers, said in ((range(4), 1), (range(4), 1), (range(4, 7), 2)):
        _fill(empty, numbers)
        empty.calibrator.run_due()
        assert sum("needs 20 products" in record.getMessage() for record in caplog.records) == said
    with pytest.raises(SpaceConflict, match="20 products"):
        empty.calibrator.measure(*empty.spaces.ready())


def test_pictures_that_cannot_be_read_are_passed_over(empty: Application) -> None:
    """Their files are gone."""
    _fill(empty, range(3))
    next((empty.settings.data_dir / "pictures").rglob("*.jpg")).unlink()
    assert len(_tried(empty, "camera", 9)) == 2


def test_a_space_that_began_anew_keeps_nothing_of_the_old(empty: Application) -> None:
    """What was measured before comes too late."""
    space = empty.spaces.primary()
    empty.calibrator.store(replace(space, created_at=space.created_at - timedelta(seconds=1)), SURE)
    assert empty.spaces.primary().calibration is None
    empty.calibrator.store(space, SURE)
    assert empty.spaces.primary().calibration == SURE
    with empty.database.transaction() as connection:
        connection.execute("UPDATE seesame.spaces SET role = 'retired'")
        spaces.register(connection, empty.spaces.live()[0][1].identity, "candidate", revive=True)
    assert empty.spaces.primary().calibration is None


def test_subjects_are_drawn_by_lot(database: Database) -> None:
    """The same for a seed, another for another, all where there are no more, and one of each product."""
    with database.transaction() as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, 3), "candidate")
        products = [Product(f"p{number // 2}") for number in range(40)]
        add_images(connection, space, unit(np.ones((40, 3))), products=products)

        def drawn(count: int, seed: int) -> list[str]:
            return [subject.product_id for subject in trials.subjects(connection, space, count, seed=seed)]

        assert drawn(8, 1) == drawn(8, 1)
        assert len({frozenset(drawn(8, seed)) for seed in range(5)}) > 1
        assert sorted(drawn(1_000, 3)) == sorted(f"p{number}" for number in range(20))


def test_one_picture_alone_has_scores(calibrated: Application) -> None:
    """Not words, several subjects, more like this, and later pages: nothing was measured for them."""
    find = calibrated.search.find
    image = calibrated.catalogue.get("p0").images[0]
    region = [Part(Photo(PHOTO), region=Region(0, 0, 1, 0.5))]
    for subject in (Photo(PHOTO), LikeImage(image.image_id), region):
        assert find(subject, Query()).scale is not None
    for other in (Words("thing"), LikeProduct("p0"), [Part(Photo(PHOTO)), Part(Photo(patches(1)))]):
        answer = find(other, Query())
        assert (answer.scale, answer.good_match) == (None, None)
    assert find(Photo(PHOTO), Query(limit=4, offset=4)).good_match is None


@pytest.mark.parametrize("limit", [1, 4, 8])
def test_a_score_does_not_depend_on_how_many_results_are_shown(calibrated: Application, limit: int) -> None:
    """The fourth result is looked up where the page is shorter."""
    exact = calibrated.search.find(Photo(PHOTO), Query(limit=limit))
    everything = calibrated.search.find(Photo(PHOTO), Query(limit=8))
    assert len(exact.page.hits) == limit
    assert exact.scale == everything.scale is not None
    assert exact.good_match is True


def test_an_unsold_thing_has_no_good_match(calibrated: Application) -> None:
    """Its first four results are about as similar as one another."""
    answer = calibrated.search.find(Photo(patches(99)), Query())
    assert answer.page.hits
    assert answer.good_match is False


def test_scores_over_http(calibrated: Application) -> None:
    """Beside the similarities, falling with them; null before the space was calibrated."""
    with served(calibrated) as client:
        reply = _asked(client)
        scores = [result["score"] for result in reply["results"]]
        assert reply["good_match"] is True
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > 0.5 > scores[-1]
        regions = {"image": {"id": reply["image_id"]}, "regions": [{"x": 0, "y": 0, "width": 1, "height": 1}]}
        (region,) = client.post("/v1/search/regions", json=regions | {"limit": 8}).raise_for_status().json()["regions"]
        assert region["good_match"] is True
        assert region["results"][0]["score"] == pytest.approx(scores[0], abs=0.1)
        _forget(calibrated, calibrated.spaces.primary())
        reply = _asked(client)
        assert reply["good_match"] is None
        assert {result["score"] for result in reply["results"]} == {None}


def _asked(client: httpx2.Client) -> Any:
    photo = ("photo.jpg", PHOTO, "image/jpeg")
    return client.post("/v1/search/image", files={"image": photo}).raise_for_status().json()


def _forget(application: Application, space: Space) -> None:
    with application.database.transaction() as connection:
        connection.execute("UPDATE seesame.spaces SET calibration = NULL WHERE space_id = %s", (space.space_id,))
    application.spaces.all()
