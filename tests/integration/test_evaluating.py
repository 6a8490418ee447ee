"""Evaluation of a space by damaged pictures, through the search itself, and the commands for it."""

import pytest

from seesame.application import Application
from seesame.calibration import Calibration
from seesame.camera import KINDS
from seesame.errors import InvalidInput, NotFound, SpaceConflict
from seesame.evaluating import Evaluation, evaluate, separation
from seesame.types import Product
from tests.conftest import patches
from tests.models import use_thumbnails


@pytest.fixture
def shop(application: Application) -> Application:
    """Four products with one picture and one with two, of two categories."""
    use_thumbnails(application)
    for number in range(6):
        product_id = f"p{min(number, 4)}"
        application.catalogue.put(Product(product_id, category=f"kind {min(number, 4) % 2}"))
        application.catalogue.add_image(product_id, patches(number))
    application.indexer.run_once(finish=True)
    return application


def _evaluated(shop: Application, *, sample: int = 100, seed: int = 0) -> Evaluation:
    return evaluate(shop.trials, *shop.spaces.ready(), sample=sample, seed=seed)


def test_each_picture_is_searched_by_in_every_kind_of_damage(shop: Application) -> None:
    """As it is a picture finds itself; a product with several is found by another one of its pictures."""
    found = _evaluated(shop)
    assert {kind: len(outcomes) for kind, outcomes in found.by_kind().items()} == dict.fromkeys(KINDS, 5)
    for outcome in found.by_kind()["none"]:
        finds_itself = outcome.product_id != "p4"
        assert (outcome.present.similarity == pytest.approx(1.0, abs=5e-3)) is finds_itself
        assert outcome.rank == 1 or not finds_itself
        assert outcome.absent is not None
        assert outcome.absent.similarity <= min(0.99, outcome.present.similarity)
    assert {name: len(outcomes) for name, outcomes in found.by_category().items()} == {"kind 0": 3, "kind 1": 2}
    assert separation(found.outcomes) is None  # not calibrated


def test_the_same_seed_makes_the_same_photos(shop: Application) -> None:
    """However many there are beside them; another seed makes others."""
    part, whole, other = _evaluated(shop, sample=2), _evaluated(shop), _evaluated(shop, seed=1)
    assert len(part.outcomes) == 2 * len(KINDS)
    assert set(part.outcomes) <= set(whole.outcomes)
    assert set(other.by_kind()["none"]) == set(whole.by_kind()["none"])
    assert set(other.by_kind()["blur"]) != set(whole.by_kind()["blur"])


def test_a_calibrated_space_tells_whether_the_product_is_there(shop: Application) -> None:
    """Of pictures as they are it is told for all."""
    shop.calibrator.store(shop.spaces.primary(), Calibration(own=-5.0, rival=5.0, offset=-5.0, photos=30, images=6))
    told = separation([o for o in _evaluated(shop).by_kind()["none"] if o.product_id != "p4"])
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
