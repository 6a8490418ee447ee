"""Renews the pictures of the page in docs/: what looks like a photo, and what looks like a part of one.

    make demo EXIT=1
    SEESAME_DATA_DIR=.demo SEESAME_CACHE_DIR=.demo/cache python tools/make_screenshots.py

It needs the development tools, and Chromium on PATH or named by SEESAME_TEST_CHROMIUM.
"""

import io
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from seesame.application import open_application
from seesame.cli.serve import serving
from seesame.demo.canvas import Sheet
from seesame.demo.catalogue import draw_catalogue, draw_product, plan_products
from seesame.demo.scenes import phone_photo, seen_from
from seesame.settings import Settings

_DOCS = Path(__file__).parents[1] / "docs"
_SIZE = {"width": 1280, "height": 860}
_MOST_BYTES = 100_000
_SEED = 7
_SINGLE = "DRE-003"
_LAID_OUT = (("DRE-003", -22, -18, 0.64), ("BAG-014", 26, -26, 0.46), ("SNE-016", 12, 32, 0.6))
"""Products that lie beside each other: how far from the middle, in units, and how large."""


def main() -> None:
    """Takes both pictures of the demo's catalogue."""
    settings = Settings.read()
    settings = settings.model_copy(update={"data_dir": settings.data_dir / "demo", "port": 0})
    sample = draw_catalogue(settings.data_dir / "sample")
    single = next(query.photo for query in sample.queries if query.product_id == _SINGLE)
    with (
        open_application(settings) as application,
        serving(application, fetch_model=False) as server,
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
    ):
        several = Path(folder) / "several.jpg"
        _laid_out().save(several, quality=92)
        chromium = os.environ.get("SEESAME_TEST_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(base_url=server.url, viewport=_SIZE, locale="en-IE", reduced_motion="reduce")
        _search(page, single)
        _take(page, "page")
        _search(page, several)
        page.get_by_role("button", name="Search this part: dresses").click()
        page.wait_for_selector(".crop")
        page.locator("[data-field='attributes.pattern'] summary").click()
        with page.expect_response("**/"):
            page.get_by_role("checkbox", name="floral").check()
        _take(page, "page-crop")
        browser.close()


def _laid_out() -> Image.Image:
    """A phone photo of several products on one cloth."""
    plan = {product.product_id: product for product in plan_products(_SEED)}
    sheets = [seen_from(draw_product(plan[name], seed=_SEED), scale=scale, x=x, y=y) for name, x, y, scale in _LAID_OUT]
    together = Sheet(sum(sheet.colour for sheet in sheets), sum(sheet.cover for sheet in sheets))
    return phone_photo(together, np.random.default_rng(_SEED), background="linen")


def _search(page: Page, photo: Path) -> None:
    page.goto("/")
    with page.expect_response("**/v1/search/regions"):
        page.set_input_files("#image", photo)
    page.wait_for_selector(".dot")


def _take(page: Page, name: str) -> None:
    """At the best quality that keeps it small."""
    page.wait_for_load_state("networkidle")
    shot = Image.open(io.BytesIO(page.screenshot()))
    for quality in range(90, 40, -5):
        shot.save(_DOCS / f"{name}.webp", quality=quality, method=6)
        if (_DOCS / f"{name}.webp").stat().st_size <= _MOST_BYTES:
            return
    raise SystemExit(f"{name}.webp cannot be made small enough.")


if __name__ == "__main__":
    main()
