"""Signing in, in a real browser: to a server that others can reach, and that asks for keys."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect
from pydantic import SecretStr

from seesame.application import Application, open_application
from seesame.cli.serve import serving
from tests.acceptance.shopper import DEVICES, cards, check, search_by_words, settle
from tests.conftest import Shop

_ADMIN = "an-admin-key-of-the-settings-which-is-long"


@dataclass(frozen=True)
class House:
    """A server on the sample catalogue that listens to everybody."""

    application: Application
    url: str


@pytest.fixture(scope="module")
def house(shop: Shop) -> Iterator[House]:
    """One for all tests of this module."""
    settings = shop.settings.model_copy(update={"host": "0.0.0.0", "admin_key": SecretStr(_ADMIN)})
    with (
        open_application(settings) as application,
        serving(application, index=False, fetch_model=False) as server,
    ):
        yield House(application, server.url.replace("0.0.0.0", "127.0.0.1"))


def _enter(page: Page, key: str) -> None:
    page.get_by_label("key").fill(key)
    page.get_by_role("button", name="Sign in").press("Enter")


@pytest.mark.parametrize("device", DEVICES)
def test_one_signs_in_and_out(browser: Browser, house: House, device: dict[str, object]) -> None:
    """From the page that was wanted and back to it; each look of the form is for everybody."""
    size = device["size"]
    assert isinstance(size, tuple)
    options = {name: value for name, value in device.items() if name != "size"}
    viewport = ViewportSize(width=size[0], height=size[1])
    with browser.new_context(base_url=house.url, viewport=viewport, **options) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto("/admin/imports")
        check(page, "the form")
        _enter(page, "a wrong key")
        expect(page.get_by_role("alert")).to_contain_text("unknown")
        check(page, "a wrong key")
        _enter(page, house.application.keys.create("search", "search")[1])
        expect(page.get_by_role("alert")).to_contain_text("Sign in with an admin key")
        check(page, "a key for less")
        _enter(page, _ADMIN)
        expect(page).to_have_url(f"{house.url}/admin/imports")
        page.get_by_role("link", name="Key").click()
        check(page, "signed in")
        page.get_by_role("button", name="Sign out").click()
        page.goto("/admin")
        expect(page.get_by_role("heading")).to_have_text("Sign in")


def test_a_key_for_searching_opens_the_page_until_it_is_revoked(browser: Browser, house: House) -> None:
    """The page says nothing of what is not for its visitor; the next search after the end leads to the form."""
    key, text = house.application.keys.create("shopper", "search")
    with browser.new_context(base_url=house.url) as context:
        page = context.new_page()
        page.goto("/?q=umbrella")
        with page.expect_response("**/health") as state:
            _enter(page, text)
        settle(page)
        assert state.value.status == 403
        expect(page.locator("#state")).to_be_hidden()
        expect(cards(page).first).to_be_visible()
        house.application.keys.revoke(key.key_id)
        house.application.keys.look()
        search_by_words(page, "boots")
        expect(page).to_have_url(f"{house.url}/sign-in?next=%2F%3Fq%3Dboots")
