"""`seesame calibrate` and `seesame eval` on a part of the sample catalogue."""

import io
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seesame.application import Application
from seesame.cli import app
from seesame.demo.catalogue import draw_packshots, draw_product, plan_products
from seesame.errors import SeesameError
from seesame.types import Product


@pytest.fixture
def sample(application: Application) -> Application:
    """Twenty drawn products, indexed."""
    for plan in plan_products(7)[::10][:20]:
        packshot = io.BytesIO()
        next(draw_packshots(plan, draw_product(plan, seed=7), seed=7)).save(packshot, "JPEG")
        application.catalogue.put(Product(plan.product_id, category="drawn"))
        application.catalogue.add_image(plan.product_id, packshot.getvalue())
    application.indexer.run_once(finish=True)
    return application


def _run(shop: Application, *arguments: str) -> str:
    settings = shop.settings
    assert settings.database_url is not None
    environment = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "SEESAME_DATA_DIR": str(settings.data_dir),
        "SEESAME_CACHE_DIR": str(settings.cache_dir),
        "COLUMNS": "200",
    }
    return CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False).output


def test_a_change_is_measured_before_and_after(sample: Application, tmp_path: Path) -> None:
    """Calibrate, evaluate, save; evaluate again, compare, and write the page with the plot."""
    before, page = tmp_path / "before.json", tmp_path / "page.html"
    assert "own product" in _run(sample, "calibrate", "--dry-run")
    assert sample.spaces.primary().calibration is None
    assert "Not calibrated" in _run(sample, "eval", "--sample", "2", "--save", str(before))
    assert "20 photos" in _run(sample, "calibrate")
    assert sample.spaces.primary().calibration is not None
    shown = _run(sample, "eval", "--sample", "3", "--against", str(before), "--report", str(page))
    for expected in ("R@10", "background", "drawn", "have a good match in", "+0.000 (+0.000 to +0.000)"):
        assert expected in shown
    html = page.read_text()
    assert html.count("<rect") == 8
    assert html.count("stroke-dasharray") == 8  # where each was before
    assert "Compared with" in html


def test_wrong_use_is_told(application: Application, tmp_path: Path) -> None:
    """No products, files of something else, and another seed than before."""
    other = tmp_path / "other.json"
    other.write_text('{"space": "s", "seed": 1, "outcomes": []}')
    for arguments, said in (
        (("calibrate",), "20 products"),
        (("eval",), "No picture"),
        (("eval", "--sample", "0"), "Between 1 and"),
        (("eval", "--against", str(tmp_path / "none")), "No such file"),
        (("eval", "--against", str(other)), "--seed 1"),
    ):
        with pytest.raises(SeesameError, match=said):
            _run(application, *arguments)
