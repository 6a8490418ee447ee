"""Calibration by the catalogue's own pictures, with pgvector and without."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx2
import numpy as np
import pytest

from seesame.application import Application, open_application
from seesame.calibration import Calibration
from seesame.db import spaces
from seesame.db import trials as trial_rows
from seesame.errors import SpaceConflict
from seesame.queries import LikeImage, LikeProduct, Part, Photo, Query, Words
from seesame.types import Product, Region, Space
from tests.conftest import picture, served, shop_settings

COLOURS = ("red", "green", "blue", "white", "black", "orange", "purple", "teal")
PHOTO = picture("red", (40, 90))
SURE = Calibration(own=-10.0, rival=10.0, offset=-1.0, photos=30, images=24)


@pytest.fixture(params=["pgvector", "plain"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, cache_dir: Path) -> Iterator[Application]:
    """A shop of 24 products with one picture each, indexed, on either kind of database."""
    dsn = request.getfixturevalue("dsn") if request.param == "pgvector" else request.getfixturevalue("plain").dsn
    with open_application(shop_settings(dsn, tmp_path, cache_dir)) as application:
        _fill(application, range(24))
        yield application


@pytest.fixture
def calibrated(application: Application) -> Application:
    """A shop of eight products whose scores are steep."""
    _fill(application, range(8))
    application.calibrator.store(application.spaces.primary(), SURE)
    application.spaces.all()
    return application


def _fill(application: Application, numbers: range) -> None:
    for number in numbers:
        application.catalogue.put(Product(f"p{number}", title=f"Thing {number}"))
        image = picture(COLOURS[number % 8], (40 + number, 90 - number), spot=number)
        application.catalogue.add_image(f"p{number}", image)
    application.indexer.run_once(finish=True)


def _measured(application: Application) -> Calibration:
    return application.calibrator.measure(*application.spaces.ready()).calibration


def test_a_space_is_calibrated_when_it_is_complete(shop: Application) -> None:
    """Again only after the catalogue has changed much."""
    shop.catalogue.put(Product("late"))
    shop.catalogue.add_image("late", picture("pink"))
    shop.calibrator.run_due()
    assert shop.spaces.primary().calibration is None  # one is on its way
    shop.indexer.run_once(finish=True)
    shop.calibrator.run_due()
    first = shop.spaces.primary().calibration
    assert first is not None
    assert (first.photos, first.images) == (25, 25)
    _fill(shop, range(24, 30))
    shop.calibrator.run_due()
    assert shop.spaces.primary().calibration == first
    _fill(shop, range(30, 40))
    shop.calibrator.run_due()
    second = shop.spaces.primary().calibration
    assert second is not None
    assert second.images == 41


def test_to_measure_twice_gives_the_same(shop: Application) -> None:
    """Pictures and their damage are drawn by a seed; own products have the higher scores."""
    measured = shop.calibrator.measure(*shop.spaces.ready())
    assert measured.calibration == _measured(shop)
    assert len(measured.own) == len(measured.others) == 24
    assert np.mean(measured.own) > np.mean(measured.others)


def test_a_product_with_several_pictures_is_to_be_found_by_another_one(shop: Application) -> None:
    """So the photo is less similar to it than to the picture that it was made from."""
    for number in range(24):
        shop.catalogue.add_image(f"p{number}", picture(COLOURS[(number + 1) % 8], (90, 40 + number), spot=30))
    shop.indexer.run_once(finish=True)
    space, embedder = shop.spaces.ready()
    trials = list(shop.trials.run(space, embedder, ["none"], count=24, seed=1))
    assert trials
    assert all(trial.own < 0.999 for trial in trials)


def test_the_same_picture_in_another_product_does_not_count_against_it(shop: Application) -> None:
    """Nobody can tell the two apart."""
    for number in range(24, 28):
        shop.catalogue.put(Product(f"p{number}"))
        shop.catalogue.add_image(f"p{number}", picture("red", (40, 90)))
    shop.indexer.run_once(finish=True)
    space, embedder = shop.spaces.ready()
    for trial in shop.trials.run(space, embedder, ["none"], count=50, seed=1):
        assert trial.rank == 1
        assert trial.without_product[0] < 0.9999


def test_what_cannot_be_calibrated_is_said_and_not_tried_again_and_again(application: Application) -> None:
    """Too few products; a space is left alone until it has grown."""
    _fill(application, range(12))
    with pytest.raises(SpaceConflict, match="20 products"):
        _measured(application)
    application.calibrator.run_due()
    _fill(application, range(12, 16))
    application.calibrator.run_due()
    assert application.spaces.primary().calibration is None
    _fill(application, range(16, 24))
    application.calibrator.run_due()
    assert application.spaces.primary().calibration is not None


def test_pictures_that_cannot_be_read_are_passed_over(application: Application) -> None:
    """Their files are gone."""
    _fill(application, range(4))
    next((application.settings.data_dir / "pictures").rglob("*.jpg")).unlink()
    space, embedder = application.spaces.ready()
    assert len(list(application.trials.run(space, embedder, ["camera"], count=9, seed=1))) == 3


def test_a_space_that_began_anew_keeps_nothing_of_the_old(application: Application) -> None:
    """What was measured before comes too late."""
    space = application.spaces.primary()
    application.calibrator.store(replace(space, created_at=space.created_at - timedelta(seconds=1)), SURE)
    assert application.spaces.primary().calibration is None
    application.calibrator.store(space, SURE)
    assert application.spaces.primary().calibration == SURE
    with application.database.transaction() as connection:
        connection.execute("UPDATE seesame.spaces SET role = 'retired'")
        spaces.register(connection, application.spaces.live()[0][1].identity, "candidate", revive=True)
    assert application.spaces.primary().calibration is None


def test_subjects_are_drawn_by_lot(shop: Application) -> None:
    """The same for a seed, another for another, all where there are no more."""
    space = shop.spaces.primary()

    def drawn(count: int, seed: int) -> set[str]:
        with shop.database.transaction() as connection:
            return {subject.product_id for subject in trial_rows.subjects(connection, space, count, seed=seed)}

    assert drawn(8, 1) == drawn(8, 1)
    assert len({frozenset(drawn(8, seed)) for seed in range(5)}) > 1
    assert len(drawn(8, 1)) == 8
    assert len(drawn(1_000, 3)) == 24


def test_one_picture_alone_has_scores(calibrated: Application) -> None:
    """Not words, several subjects, more like this, and later pages: nothing was measured for them."""
    find = calibrated.search.find
    image = calibrated.catalogue.get("p0").images[0]
    region = [Part(Photo(PHOTO), region=Region(0, 0, 1, 0.5))]
    for subject in (Photo(PHOTO), LikeImage(image.image_id), region):
        assert find(subject, Query()).scale is not None
    for other in (Words("thing"), LikeProduct("p0"), [Part(Photo(PHOTO)), Part(Photo(picture("blue")))]):
        answer = find(other, Query())
        assert (answer.scale, answer.good_match) == (None, None)
    assert find(Photo(PHOTO), Query(limit=4, offset=4)).good_match is None


@pytest.mark.parametrize("limit", [1, 4, 8])
def test_a_score_does_not_depend_on_how_many_results_are_shown(calibrated: Application, limit: int) -> None:
    """The fourth result is looked up where the page is shorter."""
    exact = calibrated.search.find(Photo(picture("red", (40, 90), spot=0)), Query(limit=limit))
    everything = calibrated.search.find(Photo(picture("red", (40, 90), spot=0)), Query(limit=8))
    assert len(exact.page.hits) == limit
    assert exact.scale == everything.scale is not None
    assert exact.good_match is True


def test_an_unsold_thing_has_no_good_match(calibrated: Application) -> None:
    """Its first four results are about as similar as one another."""
    answer = calibrated.search.find(Photo(picture("grey", (64, 64), spot=50)), Query())
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


def _asked(client: httpx2.Client) -> dict[str, list[dict[str, float]]]:
    photo = ("photo.jpg", picture("red", (40, 90), spot=0), "image/jpeg")
    reply = client.post("/v1/search/image", files={"image": photo}).raise_for_status()
    answer: dict[str, list[dict[str, float]]] = reply.json()
    return answer


def _forget(application: Application, space: Space) -> None:
    with application.database.transaction() as connection:
        connection.execute("UPDATE seesame.spaces SET calibration = NULL WHERE space_id = %s", (space.space_id,))
    application.spaces.all()
