"""Evaluation of a space by damaged pictures, through the search itself, and the commands for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from seesame.application import Application, open_application
from seesame.camera import KINDS
from seesame.errors import InvalidInput, NotFound, SpaceConflict
from seesame.evaluating import Evaluation, evaluate, separation
from seesame.types import Product
from tests.conftest import picture, shop_settings

COLOURS = ("red", "green", "blue", "white", "black", "orange", "purple", "teal")


@pytest.fixture(params=["pgvector", "plain"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, cache_dir: Path) -> Iterator[Application]:
    """Eight products with one picture, two with two, of three categories, on either kind of database."""
    dsn = request.getfixturevalue("dsn") if request.param == "pgvector" else request.getfixturevalue("plain").dsn
    with open_application(shop_settings(dsn, tmp_path, cache_dir)) as application:
        for number in range(10):
            application.catalogue.put(Product(f"p{number}", category=f"kind {number % 3}"))
            for more in range(1 + (number % 5 == 4)):
                data = picture(COLOURS[number % 8], (40 + 3 * number, 90), spot=number + 9 * more)
                application.catalogue.add_image(f"p{number}", data)
        application.indexer.run_once(finish=True)
        yield application


def _evaluated(shop: Application, *, sample: int = 100, seed: int = 0) -> Evaluation:
    return evaluate(shop.trials, *shop.spaces.ready(), sample=sample, seed=seed)


def test_each_picture_is_searched_by_in_every_kind_of_damage(shop: Application) -> None:
    """As it is a picture finds itself; a product with several is found by another one of its pictures."""
    found = _evaluated(shop)
    assert {kind: len(outcomes) for kind, outcomes in found.by_kind().items()} == dict.fromkeys(KINDS, 10)
    for outcome in found.by_kind()["none"]:
        if outcome.product_id not in ("p4", "p9"):
            assert outcome.rank == 1
            assert outcome.present.similarity == pytest.approx(1.0, abs=1e-3)
        assert outcome.absent is not None
        assert outcome.absent.similarity < 0.999
        assert outcome.absent.similarity <= outcome.present.similarity
    assert {name: len(outcomes) for name, outcomes in found.by_category().items()} == {
        "kind 0": 4, "kind 1": 3, "kind 2": 3,
    }  # fmt: skip
    assert separation(found.outcomes) is None  # not calibrated


def test_the_same_seed_makes_the_same_photos(shop: Application) -> None:
    """However many there are beside them; another seed makes others."""
    part, whole, other = _evaluated(shop, sample=5), _evaluated(shop), _evaluated(shop, seed=1)
    assert 0 < len(part.outcomes) < len(whole.outcomes)
    assert set(part.outcomes) <= set(whole.outcomes)
    assert set(other.by_kind()["blur"]) != set(whole.by_kind()["blur"])


def test_a_calibrated_space_tells_whether_the_product_is_there(shop: Application) -> None:
    """Of undamaged pictures it is told for all."""
    with shop.database.transaction() as connection:
        connection.execute(
            "UPDATE seesame.spaces SET calibration = jsonb_build_object("
            "'own', -10, 'rival', 10, 'offset', -20, 'photos', 30, 'images', 12)"
        )
    told = separation([o for o in _evaluated(shop).outcomes if o.kind == "none" and o.product_id not in ("p4", "p9")])
    assert told is not None
    assert (told.present, told.absent) == (1.0, 0.0)
    assert told.by_score == told.by_similarity == 1.0


def test_what_cannot_be_evaluated_is_said(shop: Application) -> None:
    """Too few pictures, a model that is not here, and pictures whose files are gone."""
    with pytest.raises(InvalidInput):
        _evaluated(shop, sample=0)
    with pytest.raises(NotFound):
        shop.spaces.ready("nothing")
    for path in (shop.settings.data_dir / "pictures").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(SpaceConflict):
        _evaluated(shop)
