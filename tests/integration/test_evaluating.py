"""Evaluation of a space by damaged pictures, through the search itself, with pgvector and without."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from seesame.application import Application, open_application
from seesame.camera import KINDS
from seesame.errors import InvalidInput, NotFound, SpaceConflict
from seesame.evaluating import Evaluation, Evaluator, figures
from seesame.types import Product
from tests.conftest import picture, shop_settings

COLOURS = ("red", "green", "blue", "white", "black", "orange", "purple", "teal")


@pytest.fixture(params=["pgvector", "plain"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, cache_dir: Path) -> Iterator[Application]:
    """Twelve products with one picture and four with two, of three categories, on either kind of database."""
    dsn = request.getfixturevalue("dsn") if request.param == "pgvector" else request.getfixturevalue("plain").dsn
    with open_application(shop_settings(dsn, tmp_path, cache_dir)) as application:
        for number in range(16):
            application.catalogue.put(Product(f"p{number}", category=f"kind {number % 3}"))
            for more in range(1 + (number % 4 == 3)):
                data = picture(COLOURS[number % 8], (40 + 3 * number, 90), spot=number + 9 * more)
                application.catalogue.add_image(f"p{number}", data)
        application.indexer.run_once(finish=True)
        yield application


def _evaluated(shop: Application, **how: object) -> Evaluation:
    space, embedder = shop.spaces.ready()
    return Evaluator(shop.database, shop.pictures, shop.search).run(space, embedder, **how)  # type: ignore[arg-type]


def test_each_picture_is_searched_by_in_every_kind_of_damage(shop: Application) -> None:
    """As it is a picture finds itself; a product with several is found by another one of its pictures."""
    told: list[tuple[int, int | None]] = []
    found = _evaluated(shop, on_evaluated=lambda done, total: told.append((done, total)))
    assert told[-1] == (16 + 150, 16 + 150)
    assert {kind: len(outcomes) for kind, outcomes in found.by_kind().items()} == dict.fromkeys(KINDS, 16)
    several = {f"p{number}" for number in (3, 7, 11, 15)}
    for outcome in found.by_kind()["none"]:
        assert outcome.similarity is not None
        if outcome.product_id in several:
            assert outcome.similarity < 0.9999  # its own picture is left out
        else:
            assert (outcome.rank, outcome.similarity) == (1, pytest.approx(1.0, abs=1e-3))
    assert {outcome.good_match for outcome in (*found.outcomes, *found.foreign)} == {None}
    assert {name: len(outcomes) for name, outcomes in found.by_category().items()} == {
        "kind 0": 42, "kind 1": 35, "kind 2": 35,
    }  # fmt: skip
    assert found == _evaluated(shop)


def test_a_sample_is_a_part_of_the_whole(shop: Application) -> None:
    """The same picture is damaged alike, however many there are beside it."""
    part, whole = _evaluated(shop, sample=5), _evaluated(shop)
    assert 5 * len(KINDS) >= len(part.outcomes) > 0
    same = {(o.image_id, o.kind): o.rank for o in whole.outcomes}
    shared = [o for o in part.outcomes if (o.image_id, o.kind) in same]
    assert shared
    assert all(same[o.image_id, o.kind] == o.rank for o in shared)
    assert _evaluated(shop, seed=1).outcomes != whole.outcomes


def test_others_of_the_category_can_be_looked_for(shop: Application) -> None:
    """The product itself is left out, so that to find it again is no merit."""
    found = _evaluated(shop, target="category")
    assert 0 < figures(found.outcomes).values[0] < 1


def test_a_calibrated_space_tells_foreign_pictures(shop: Application) -> None:
    """Each outcome says whether its answer was a good match."""
    with shop.database.transaction() as connection:
        connection.execute(
            "UPDATE seesame.spaces SET calibration = jsonb_build_object('slope', 9, 'offset', -8, 'threshold', 0.97,"
            " 'source', 'camera', 'positives', 1, 'negatives', 1, 'images', 20)"
        )
    found = _evaluated(shop)
    by_kind = {kind: figures(outcomes).good_match for kind, outcomes in found.by_kind().items()}
    assert by_kind["none"] == 1.0
    assert figures(found.foreign).good_match == 0.0
    auc = found.auc()
    assert auc is not None
    assert auc > 0.5


def test_what_cannot_be_evaluated_is_said(shop: Application) -> None:
    """Too many pictures, a model that is not here, and pictures whose files are gone."""
    with pytest.raises(InvalidInput):
        _evaluated(shop, sample=0)
    with pytest.raises(NotFound):
        shop.spaces.ready("nothing")
    for path in (shop.settings.data_dir / "pictures").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(SpaceConflict):
        _evaluated(shop)
