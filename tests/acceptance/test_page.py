"""The shopper's page in a real browser, on a real server: words, products, filters, and what it says."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from seesame.application import open_application
from seesame.cli.serve import serving
from seesame.settings import Settings
from seesame.spaces import Reason
from seesame.web.words import REASONS
from tests.acceptance.shopper import (
    DEVICES,
    REFUSED,
    cards,
    check,
    chips,
    choose,
    heading,
    never,
    notice,
    product_ids,
    search_by_photo,
    search_by_words,
    settle,
    words,
)
from tests.conftest import Shop

_FIRST_LOAD_BYTES = 100_000


def test_words_find_products_and_stand_in_the_address(page: Page, shop: Shop) -> None:
    """Words typed after "/" are searched on Enter, and the address brings them back."""
    title = page.request.get(f"/v1/products/{shop.photo_product_id}").json()["title"]
    page.keyboard.press("/")
    page.keyboard.type(title)
    page.keyboard.press("Enter")

    expect(heading(page)).to_have_text(f"Results for “{title}”")
    expect(heading(page)).to_be_focused()
    settle(page)
    assert shop.photo_product_id in product_ids(page)

    page.reload()
    expect(heading(page)).to_have_text(f"Results for “{title}”")
    expect(words(page)).to_have_value(title)
    assert shop.photo_product_id in product_ids(page)


def test_no_script_is_needed_for_words_and_filters(visit: Callable[..., Page]) -> None:
    """Without JavaScript words are searched, filters apply and go, and a product leads to others like it."""
    page = visit(java_script_enabled=False)
    search_by_words(page, "umbrella")
    expect(heading(page)).to_have_text("Results for “umbrella”")
    found = product_ids(page)

    page.locator("[data-field=category] summary").click()
    page.get_by_role("checkbox", name="umbrellas").check()
    page.locator("[data-field=category]").get_by_role("button", name="Apply").click()
    expect(chips(page)).to_have_text(["umbrellas×"])
    kinds = page.locator(".kind").all_inner_texts()
    assert kinds
    assert all(kind.endswith("umbrellas") for kind in kinds)

    page.get_by_role("button", name="Remove umbrellas").click()
    expect(chips(page)).to_have_count(0)
    assert product_ids(page) == found

    cards(page).first.get_by_role("button", name="More like this").click()
    expect(chips(page)).to_contain_text(["More like"])
    assert found[0] not in product_ids(page)


def test_no_script_is_needed_for_a_photo(visit: Callable[..., Page], shop: Shop) -> None:
    """Without JavaScript a photo is sent by a form, and refined by words without being sent again."""
    page = visit(java_script_enabled=False)
    page.set_input_files("#image", shop.photo)
    page.get_by_role("button", name="Search with this photo").click()
    expect(heading(page)).to_have_text("Looks like your photo")
    assert product_ids(page)[0] == shop.photo_product_id

    with page.expect_request(lambda request: request.is_navigation_request()) as asked:
        search_by_words(page, "umbrella")
    assert len(asked.value.post_data_buffer or b"") < 2_000
    expect(heading(page)).to_have_text("Looks like your photo, “umbrella”")
    assert shop.photo_product_id in product_ids(page)


def test_first_load_is_light(page: Page) -> None:
    """The page with its styles and scripts, without pictures, is at most 100 KB; it names nobody else's files."""
    page.reload()
    settle(page)
    loaded: dict[str, int] = page.evaluate(
        """() => Object.fromEntries(["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type))
            .filter(({ initiatorType }) => ["navigation", "link", "script", "other"].includes(initiatorType))
            .map(({ name, decodedBodySize }) => [name, decodedBodySize]))"""
    )
    assert len(loaded) > 10
    assert sum(loaded.values()) <= _FIRST_LOAD_BYTES, loaded


def test_more_and_less_like_this(page: Page) -> None:
    """Cards bring their product in as wanted or unwanted, shown as chips that can be removed; Back takes them back."""
    search_by_words(page, "dress")
    expect(heading(page)).to_have_text("Results for “dress”")
    settle(page)
    found = product_ids(page)

    cards(page).nth(1).get_by_role("button", name="More like this").click()
    expect(chips(page)).to_have_count(1)
    cards(page).nth(2).get_by_role("button", name="Less like this").click()
    expect(chips(page)).to_have_text([re.compile("More like: "), re.compile("Less like: ")])
    settle(page)
    assert found[1] not in product_ids(page)
    assert f"similar={found[1]}" in page.url
    assert "less=" in page.url

    chips(page).last.get_by_role("button").click()
    expect(chips(page)).to_have_count(1)
    page.go_back()
    expect(chips(page)).to_have_count(2)
    page.go_back()
    expect(chips(page)).to_have_count(1)
    page.go_back()
    expect(chips(page)).to_have_count(0)
    settle(page)
    assert product_ids(page) == found


def test_filters_count_and_narrow(page: Page) -> None:
    """Several values of one field may be chosen; they stand in the address, and back and forward move among them."""
    categories = page.locator("[data-field=category]")
    categories.locator("summary").click()
    boots = page.get_by_role("checkbox", name="boots")
    count = int(categories.locator("li", has=boots).locator(".count").inner_text())
    choose(page, "category", "boots")

    expect(page.locator("#total")).to_have_text(f"{count} products")
    expect(boots).to_be_focused()
    expect(categories).to_have_attribute("open", "")
    choose(page, "category", "hats")
    assert {kind.split(" · ")[-1] for kind in page.locator(".kind").all_inner_texts()} == {"boots", "hats"}
    assert page.url.endswith("/?category=boots&category=hats")

    page.go_back()
    expect(chips(page)).to_have_text(["boots×"])
    page.go_forward()
    expect(chips(page)).to_have_text(["boots×", "hats×"])
    page.get_by_role("button", name="Remove all filters").click()
    expect(chips(page)).to_have_count(0)
    assert page.url.endswith("/")


def test_attributes_of_the_catalogue_are_filters(page: Page) -> None:
    """What many products have is offered, and the counts are of what the other filters leave."""
    choose(page, "category", "boots")
    color = page.locator("details[data-field='attributes.color']")
    counts = [int(count) for count in color.locator(".options .count").all_text_contents()]
    total = int(page.locator("#total").inner_text().split()[0])
    assert sum(counts) == total

    value = color.locator("input").first.get_attribute("value") or ""
    choose(page, "attributes.color", value)
    expect(page.locator("#total")).to_contain_text(f"{counts[0]} product")


def test_highest_price_can_leave_nothing(page: Page) -> None:
    """A highest price under all prices says that nothing matches, and its removal brings products back."""
    page.locator("[data-field=price] summary").click()
    page.get_by_label("to", exact=True).fill("0.01")
    page.get_by_label("to", exact=True).press("Tab")

    expect(notice(page)).to_contain_text("No matches")
    expect(cards(page)).to_have_count(0)
    assert page.url.endswith("/?max=0.01")
    page.get_by_role("button", name="Remove Up to 0.01").click()
    expect(notice(page)).to_have_count(0)
    expect(cards(page).first).to_be_visible()


def test_filters_close_on_escape_and_outside(page: Page) -> None:
    """An open filter closes on Escape, which leads back to its button, and on a click elsewhere."""
    category = page.locator("[data-field=category]")
    category.locator("summary").click()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(category).not_to_have_attribute("open", "")
    expect(category.locator("summary")).to_be_focused()

    category.locator("summary").click()
    heading(page).click()
    expect(category).not_to_have_attribute("open", "")


def test_products_go_on_until_all_are_shown(page: Page) -> None:
    """Scrolling, then the button under the products, brings each product once, and goes when there are no more."""
    total = page.request.get("/v1/stats").json()["products"]
    more = page.get_by_role("button", name="Show more")
    while cards(page).count() < total:
        before = cards(page).count()
        more.press("Enter")
        expect(cards(page).nth(before)).to_be_visible()
        settle(page)

    expect(more).to_have_count(0)
    shown = product_ids(page)
    assert len(shown) == len(set(shown)) == total


def test_products_come_by_themselves_at_first(page: Page) -> None:
    """Whoever scrolls down gets more products without asking."""
    before = cards(page).count()
    page.mouse.wheel(0, 50_000)
    expect(cards(page).nth(before)).to_be_attached()


def test_pages_of_a_search_follow_each_other(page: Page, shop: Shop) -> None:
    """More products that look like a photo come by the cursor of the page before, none twice."""
    search_by_photo(page, shop.photo)
    before = cards(page).count()
    page.get_by_role("button", name="Show more").press("Enter")
    expect(cards(page).nth(before)).to_be_visible()
    settle(page)
    shown = product_ids(page)
    assert len(shown) == len(set(shown)) > before


def test_unreachable_server_is_told_and_tried_again(page: Page, faults: list[str]) -> None:
    """With the network down the page says so, and "Try again" goes on where it failed."""
    page.route("**/?q=*", lambda route: route.abort())
    search_by_words(page, "umbrella")
    expect(notice(page)).to_contain_text("The server cannot be reached")
    expect(heading(page)).to_have_text("From the catalogue")
    check(page, "unreachable")

    page.unroute("**/?q=*")
    page.get_by_role("button", name="Try again").click()
    expect(heading(page)).to_have_text("Results for “umbrella”")
    expect(notice(page)).to_have_count(0)
    assert [fault for fault in faults if "net::ERR_FAILED" not in fault] == []
    faults.clear()


def test_busy_server_is_told(page: Page, faults: list[str]) -> None:
    """Whatever answers in the server's place, the page says what is going on."""
    page.route("**/?q=*", lambda route: route.fulfill(status=502, body="Bad Gateway"))
    search_by_words(page, "umbrella")
    expect(notice(page)).to_contain_text("The server cannot answer now")
    assert [fault for fault in faults if not fault.startswith(f"{REFUSED} 502")] == []
    faults.clear()


def test_new_search_cancels_the_one_in_flight(page: Page, shop: Shop) -> None:
    """An answer that is overtaken by a newer search is never shown."""
    page.route("**/?q=slow", never)
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/?q=slow")):
        search_by_words(page, "slow")
        expect(page.locator(".skeleton").first).to_be_attached()
        expect(heading(page)).to_have_text("Searching…")
        page.set_input_files("#image", shop.photo)

    expect(heading(page)).to_have_text("Looks like your photo")
    settle(page)
    assert product_ids(page)[0] == shop.photo_product_id


def test_script_in_a_title_is_inert(visit: Callable[..., Page], faults: list[str]) -> None:
    """A product's words are shown as they are and never run, as results, filters and chips."""
    attack = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>"
    page = visit()
    product = {"title": attack, "category": attack, "brand": attack, "price": 1, "url": "javascript:alert(3)"}
    assert page.request.put("/v1/products/attack", data=product).ok
    try:
        page.goto(f"/?{urlencode({'category': attack, 'similar': 'attack', 'q': attack})}")
        expect(chips(page)).to_have_text([f"More like: {attack}×", f"{attack}×"])
        expect(words(page)).to_have_value(attack)
        assert [fault for fault in faults if not fault.startswith(f"{REFUSED} 404")] == []  # it has no picture
        faults.clear()
        page.goto(f"/?{urlencode({'category': attack})}")
        card = page.locator("[data-product=attack]")
        expect(card.locator(".title")).to_have_text(attack)
        expect(card.locator("a")).to_have_count(0)
        expect(card.locator(".kind")).to_have_text(f"{attack} · {attack}")
        expect(page.locator("[data-field=category] input:checked")).to_have_value(attack)
    finally:
        assert page.request.delete("/v1/products/attack").ok


def test_web_address_is_a_link(visit: Callable[..., Page]) -> None:
    """A product leads to its page in the shop."""
    page = visit()
    address = "https://shop.example/product?a=1&b=2"
    assert page.request.put("/v1/products/linked", data={"title": "Linked", "url": address}).ok
    try:
        page.reload()
        expect(page.get_by_role("link", name="Linked")).to_have_attribute("href", address)
    finally:
        assert page.request.delete("/v1/products/linked").ok


def test_product_that_is_gone_is_told(visit: Callable[..., Page], faults: list[str]) -> None:
    """An old address of products like one that is gone says so."""
    page = visit("/?similar=gone")
    expect(notice(page)).to_contain_text("There is no such product")
    assert [fault for fault in faults if not fault.startswith(f"{REFUSED} 404")] == []
    faults.clear()


def test_smaller_model_is_told(page: Page, shop: Shop) -> None:
    """While CLIP is not there, the page says quietly what answered instead."""
    search_by_photo(page, shop.photo)
    expect(page.locator(".banner")).to_contain_text("smaller built-in model")
    expect(page.locator("#facts")).to_have_text(re.compile(r"\d+ results? in [\d,]+ ms · \w+ · .+@\w{8}"))


def test_each_reason_has_words_of_its_own() -> None:
    """Whatever the reason for a degraded answer, the page names it."""
    assert set(REASONS) == set(get_args(Reason))
    assert len(set(REASONS.values())) == len(REASONS)


def test_empty_catalogue_says_how_to_fill_it(visit: Callable[..., Page], settings: Settings) -> None:
    """A shop without products is told the command that imports them."""
    with open_application(settings) as application, serving(application, fetch_model=False) as server:
        page = visit(server.url)
        expect(notice(page)).to_contain_text("seesame import PATH")
        check(page, "empty")
        page.close()  # before the server ends


@pytest.mark.parametrize("device", DEVICES)
def test_everyone_can_use_it(
    visit: Callable[..., Page], shop: Shop, device: dict[str, Any], tmp_path: Path, faults: list[str]
) -> None:
    """No state of the page breaks a rule of accessibility or is wider than the window."""
    page = visit(**device, reduced_motion="reduce")
    check(page, "start")

    search_by_photo(page, shop.photo)
    with page.expect_response("**/"):
        page.get_by_role("button", name="Choose a part").click()
    settle(page)
    choose(page, "category", "umbrellas")
    check(page, "a part, and a filter that is open")
    page.keyboard.press("Escape")
    cards(page).nth(1).get_by_role("button", name="More like this").click()
    expect(chips(page)).to_have_count(2)
    cards(page).nth(1).get_by_role("button", name="Less like this").click()
    expect(chips(page)).to_have_count(3)
    settle(page)
    check(page, "more and less")

    impostor = tmp_path / "photo.jpg"
    impostor.write_text("This is not a picture.")
    page.set_input_files("#image", impostor)
    expect(notice(page)).to_contain_text("not a picture")
    check(page, "refused")
    faults.clear()

    page.route("**/?q=waiting", never)
    search_by_words(page, "waiting")
    expect(page.locator(".skeleton").first).to_be_attached()
    check(page, "waiting")
