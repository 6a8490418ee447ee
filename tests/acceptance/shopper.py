"""What somebody does and sees on the page."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Locator, Page, Route, expect

DESKTOP, PHONE = (1280, 900), (360, 740)
TOUCH = {"size": PHONE, "has_touch": True, "is_mobile": True}
DEVICES = [
    pytest.param({"size": DESKTOP, "color_scheme": "light"}, id="desktop"),
    pytest.param({**TOUCH, "color_scheme": "dark"}, id="phone"),
]
"""Colours are the same on both, so two of the four cases show what breaks."""

REFUSED = "Failed to load resource: the server responded with a status of"


def settle(page: Page) -> None:
    """Waits until no search is under way."""
    expect(page.locator("#grid")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator(".skeleton")).to_have_count(0)


def search_by_photo(page: Page, photo: Path) -> None:
    """Chooses a photo and waits for what looks like it."""
    page.set_input_files("#image", photo)
    expect(heading(page)).to_have_text("Looks like your photo")
    settle(page)


def search_by_words(page: Page, text: str) -> None:
    """Types words over those that are there, and Enter."""
    words(page).fill(text)
    words(page).press("Enter")


def choose(page: Page, field: str, value: str) -> None:
    """Opens a filter if need be, and checks a value or takes its check away."""
    details = page.locator(f"details[data-field='{field}']")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    with page.expect_response(lambda response: response.request.is_navigation_request() is False):
        details.locator(f"input[value='{value}']").click()
    settle(page)


def check(page: Page, state: str, *, within: str = "html") -> None:
    """Breaks no rule of accessibility, and is no wider than the window."""
    report = Axe().run(page, context=within)
    assert report.violations_count == 0, f"{state}: {report.generate_report()}"
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert too_wide == 0, f"{state}: {too_wide} pixels too wide"


def never(_: Route) -> None:
    """Leaves a request without an answer."""


def product_ids(page: Page) -> list[str]:
    """Those shown, in their order."""
    return [card.get_attribute("data-product") or "" for card in cards(page).all()]


def cards(page: Page) -> Locator:
    """The products."""
    return page.locator(".card:not(.skeleton)")


def chips(page: Page) -> Locator:
    """What is searched for beside photo and words."""
    return page.locator("#chips .chip")


def heading(page: Page) -> Locator:
    """Over the products."""
    return page.get_by_role("heading", level=2)


def notice(page: Page) -> Locator:
    """What is said in the place of products."""
    return page.locator("#answer .notice")


def words(page: Page) -> Locator:
    """Where words are typed."""
    return page.get_by_role("searchbox")
