"""The documentation as a site."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ViewportSize

from tests.acceptance.shopper import DESKTOP

_ROOT = Path(__file__).parents[2]
_PHONE = (390, 844)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A link that leads nowhere would have failed the build."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(_ROOT / "docs", folder / "docs")
    shutil.copy(_ROOT / "zensical.toml", folder)
    program = Path(sys.executable).with_name("zensical")
    done = subprocess.run(
        [program, "build", "--strict"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_every_page_is_led_to(site: Path) -> None:
    """By the navigation, or by the list of decisions."""
    led_to = set(re.findall(r'href="(?:\./)?([^"#:]+\.html)"', (site / "index.html").read_text()))
    of_decisions = re.findall(r'href="(?:\./)?(\d[^"#:]+\.html)"', (site / "decisions" / "index.html").read_text())
    pages = {str(page.relative_to(_ROOT / "docs").with_suffix(".html")) for page in _ROOT.glob("docs/**/*.md")}
    assert pages == {"index.html", *led_to, *(f"decisions/{name}" for name in of_decisions)}


def test_lists_are_lists(site: Path) -> None:
    """The site wants a blank line before a list, and four blanks before what belongs to an item, as others do not."""
    for page in site.glob("**/*.html"):
        text = page.read_text()
        assert re.search(r"<p>(?:(?!</p>).)*\n(?:[-*]|\d+\.) ", text, re.DOTALL) is None, page
        assert all(items.count("<li>") > 1 for items in re.findall(r"<ol>.*?</ol>", text, re.DOTALL)), page


@pytest.mark.parametrize("size", [DESKTOP, _PHONE], ids=["desktop", "phone"])
def test_a_page_asks_nobody_else_and_fits(site: Path, browser: Browser, size: tuple[int, int]) -> None:
    """Neither for fonts nor for scripts; nothing reaches over the edge of the screen."""
    context = browser.new_context(viewport=ViewportSize(width=size[0], height=size[1]))
    page = context.new_page()
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    for name in ("index.html", "api.html", "benchmarks.html"):
        page.goto((site / name).as_uri(), wait_until="networkidle")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    context.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert faults == []
