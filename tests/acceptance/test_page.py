"""The web page in a real browser, on a real server."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, get_args

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Dialog,
    Locator,
    Page,
    Route,
    ViewportSize,
    expect,
)

from seesame.application import open_application
from seesame.cli.serve import serving
from seesame.http.server import listen
from seesame.settings import Settings
from seesame.spaces import Reason

_DESKTOP, _PHONE = (1280, 900), (360, 740)
_REFUSED = "Failed to load resource: the server responded with a status of"
_FALLBACK_ANSWERS = "; the built-in model answers"
_MODEL = Path(__file__).parents[1] / "goldens" / "immich"


class Shop(Protocol):
    """A running server with a small catalogue, and a photo of one of its products."""

    url: str
    photo: Path
    photo_product_id: str


@pytest.fixture
def faults() -> list[str]:
    """What the browser complained about. A test that provokes complaints takes them out."""
    return []


@pytest.fixture
def visit(browser: Browser, shop: Shop, faults: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens the page of the shop; in the end the browser must not have complained, about the policy either."""
    contexts: list[BrowserContext] = []

    def refuse(dialog: Dialog) -> None:
        faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def opened(path: str = "/", *, size: tuple[int, int] = _DESKTOP, **options: Any) -> Page:
        viewport = ViewportSize(width=size[0], height=size[1])
        context = browser.new_context(base_url=shop.url, viewport=viewport, locale="en-GB", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", refuse)
        page.goto(path)
        _settle(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def page(visit: Callable[..., Page]) -> Page:
    """The page as it opens on a desktop."""
    return visit()


def test_photo_finds_its_product_first(page: Page, shop: Shop) -> None:
    """A chosen photo shows the product it was taken of first, beside the photo itself."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="photo").click()
    chooser.value.set_files(shop.photo)

    expect(_heading(page)).to_have_text("Looks like your photo")
    expect(_cards(page).first.locator(".match")).to_have_text(re.compile(r"Similarity 0\.\d\d"))
    assert _product_ids(page)[0] == shop.photo_product_id
    expect(page.get_by_role("img", name="Your photo")).to_be_visible()
    expect(page.locator("footer")).to_have_text(re.compile(r"\d+ results? in [\d,]+ ms · \w+ · .+@\w{8}"))


def test_pasted_picture_is_searched(page: Page, shop: Shop) -> None:
    """Ctrl+V with a picture in the clipboard searches with it."""
    page.evaluate(
        """([bytes]) => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], "image.jpg",
                                             { type: "image/jpeg" }));
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }""",
        [base64.b64encode(shop.photo.read_bytes()).decode()],
    )

    expect(_heading(page)).to_have_text("Looks like your photo")
    _settle(page)
    assert _product_ids(page)[0] == shop.photo_product_id


def test_dropped_photo_is_searched(page: Page, shop: Shop) -> None:
    """A photo may be dropped anywhere on the page, which says so while it is dragged."""
    dragged = page.evaluate_handle(
        """([bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], "photo.jpg",
                                        { type: "image/jpeg" }));
            return transfer;
        }""",
        [base64.b64encode(shop.photo.read_bytes()).decode()],
    )
    page.dispatch_event("footer", "dragenter", {"dataTransfer": dragged})
    expect(page.get_by_text("Drop the photo to search with it")).to_be_visible()
    page.dispatch_event("footer", "drop", {"dataTransfer": dragged})

    expect(page.get_by_text("Drop the photo to search with it")).to_be_hidden()
    expect(_heading(page)).to_have_text("Looks like your photo")
    _settle(page)
    assert _product_ids(page)[0] == shop.photo_product_id


def test_words_find_products_and_stand_in_the_address(page: Page, shop: Shop) -> None:
    """Words typed after "/" are searched on Enter, and the address brings them back."""
    title = page.request.get(f"/v1/products/{shop.photo_product_id}").json()["title"]
    page.keyboard.press("/")
    page.keyboard.type(title)
    page.keyboard.press("Enter")

    expect(_heading(page)).to_have_text(f"Results for “{title}”")
    _settle(page)
    assert shop.photo_product_id in _product_ids(page)

    page.reload()
    expect(_heading(page)).to_have_text(f"Results for “{title}”")
    expect(_words(page)).to_have_value(title)
    _settle(page)
    assert shop.photo_product_id in _product_ids(page)


def test_more_like_this_and_back(page: Page, shop: Shop) -> None:
    """A card leads to products like it, and Back leads to the photo's results again."""
    _search_by_photo(page, shop.photo)
    found = _product_ids(page)
    second = _cards(page).nth(1)
    title = second.locator(".title").inner_text()
    second.get_by_role("link", name="More like this").click()

    expect(_subject(page)).to_contain_text(title)
    _settle(page)
    assert f"similar={found[1]}" in page.url
    assert found[1] not in _product_ids(page)

    page.go_back()
    expect(_subject(page)).to_contain_text("Your photo")
    _settle(page)
    assert _product_ids(page) == found


def test_category_narrows_the_results(page: Page, shop: Shop) -> None:
    """A category chip leaves only its products, and a second click brings back the others."""
    _search_by_photo(page, shop.photo)
    found = _product_ids(page)
    chip = page.get_by_role("group", name="Category").get_by_role("button").last
    category = chip.get_attribute("data-category") or ""
    chip.click()

    expect(chip).to_have_attribute("aria-pressed", "true")
    _settle(page)
    kinds = page.locator(".kind").all_inner_texts()
    assert kinds
    assert all(kind.endswith(category) for kind in kinds)

    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "false")
    _settle(page)
    assert _product_ids(page) == found


def test_highest_price_can_leave_nothing(page: Page, shop: Shop) -> None:
    """A highest price under all prices says that nothing matches, and its removal brings products back."""
    _search_by_photo(page, shop.photo)
    page.get_by_label("Max price").fill("0.01")
    page.get_by_label("Max price").press("Enter")

    expect(_notice(page)).to_contain_text("No matches")
    expect(_cards(page)).to_have_count(0)

    page.get_by_label("Max price").fill("")
    page.get_by_label("Max price").press("Enter")
    expect(_notice(page)).to_be_empty()
    _settle(page)
    assert _product_ids(page)[0] == shop.photo_product_id


def test_show_more_goes_on_until_all_is_shown(page: Page) -> None:
    """The button under the products brings each product once, and goes when there are no more."""
    total = page.request.get("/v1/stats").json()["products"]
    more = page.get_by_role("button", name="Show more")
    while more.is_visible():
        before = _cards(page).count()
        more.click()
        expect(_cards(page).nth(before)).to_be_visible()
        _settle(page)

    shown = _product_ids(page)
    assert len(shown) == len(set(shown)) == total


def test_clear_leads_back_to_the_catalogue(page: Page, shop: Shop) -> None:
    """Clearing the photo shows the catalogue again."""
    _search_by_photo(page, shop.photo)
    page.get_by_role("button", name="Clear").click()

    expect(_heading(page)).to_have_text("From the catalogue")
    expect(_subject(page)).to_be_hidden()


def test_text_file_named_jpg_is_refused_in_words(page: Page, tmp_path: Path, faults: list[str]) -> None:
    """A file that is no picture is explained in a live region; the next photo works."""
    impostor = tmp_path / "photo.jpg"
    impostor.write_text("This is not a picture.")
    page.set_input_files("#photo", impostor)

    expect(_notice(page)).to_contain_text("This file is not a picture")
    expect(_notice(page)).to_have_attribute("aria-live", "assertive")
    assert [fault for fault in faults if not fault.startswith(f"{_REFUSED} 415")] == []
    faults.clear()


def test_unreachable_server_is_told_and_tried_again(page: Page, shop: Shop, faults: list[str]) -> None:
    """With the network down the page says so, and "Try again" goes on where it failed."""
    page.route("**/v1/search/image", lambda route: route.abort())
    page.set_input_files("#photo", shop.photo)
    expect(_notice(page)).to_contain_text("The server cannot be reached")

    page.unroute("**/v1/search/image")
    page.get_by_role("button", name="Try again").click()
    expect(_notice(page)).to_be_empty()
    _settle(page)
    assert _product_ids(page)[0] == shop.photo_product_id
    assert [fault for fault in faults if "net::ERR_FAILED" not in fault] == []
    faults.clear()


def test_new_search_cancels_the_one_in_flight(page: Page, shop: Shop) -> None:
    """An answer that is overtaken by a newer search is never shown."""
    page.route("**/v1/search", _never)
    _words(page).fill("slow")
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/v1/search")):
        _words(page).press("Enter")
        expect(_heading(page)).to_have_text("Results for “slow”")
        page.set_input_files("#photo", shop.photo)

    expect(_heading(page)).to_have_text("Looks like your photo")
    _settle(page)
    assert _product_ids(page)[0] == shop.photo_product_id


def test_script_in_a_title_is_inert(visit: Callable[..., Page]) -> None:
    """A product's words are shown as they are and never run."""
    attack = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    page = visit()
    product = {"title": attack, "category": attack, "brand": attack, "price": 1}
    assert page.request.put("/v1/products/attack", data=product).ok
    try:
        page.reload()
        card = _cards(page).filter(has=page.locator("[data-similar=attack]"))
        expect(card.locator(".title")).to_have_text(attack)
        expect(card.locator(".kind")).to_have_text(f"{attack} · {attack}")
        expect(page.locator(f"[data-category='{attack}']")).to_have_text(f"{attack} 1")
    finally:
        assert page.request.delete("/v1/products/attack").ok


def test_script_address_is_no_link(visit: Callable[..., Page]) -> None:
    """Only web addresses become links."""

    def answer(route: Route) -> None:
        reply = route.fetch().json()
        reply["products"][0]["url"] = "javascript:alert(1)"
        reply["products"][1]["url"] = "https://shop.example/product"
        route.fulfill(json=reply)

    page = visit()
    page.route("**/v1/products?*", answer)
    page.reload()
    _settle(page)
    expect(_cards(page).nth(0).locator(".title a")).to_have_count(0)
    expect(_cards(page).nth(1).locator(".title a")).to_have_attribute("href", "https://shop.example/product")


def test_smaller_model_is_told(page: Page, shop: Shop) -> None:
    """While CLIP is not there, the page says quietly what answered instead."""
    _search_by_photo(page, shop.photo)
    expect(page.locator("#banner")).to_contain_text("smaller built-in model")


def test_each_reason_has_words_of_its_own(page: Page) -> None:
    """Whatever the reason for a degraded answer, the page names it; after a full answer it says nothing."""
    reply: dict[str, Any] = {
        "took_ms": 1,
        "space": "x",
        "results": [],
        "search": {"method": "exact", "exhausted": True},
    }
    page.route("**/v1/search", lambda route: route.fulfill(json=reply))
    said = set()
    for reason in [*get_args(Reason), None]:
        reply["degraded_reason"] = reason
        _words(page).fill(f"because {reason}")
        _words(page).press("Enter")
        expect(_heading(page)).to_contain_text(f"because {reason}")
        _settle(page)
        said.add(page.locator("#banner").inner_text())

    assert len(said) == len(get_args(Reason)) + 1
    assert "" in said
    assert not any("less precise" in words for words in said)  # said of a reason that the page does not know


def test_state_follows_the_clip_service(visit: Callable[..., Page], settings: Settings, tmp_path: Path) -> None:
    """The page says by itself that the service is missing, that it answers, and since when it is gone."""
    port = _free_port()
    changed = settings.model_copy(update={"clip_url": f"http://127.0.0.1:{port}"})
    with open_application(changed) as application, serving(application) as server:
        page = visit(server.url)
        missing = re.compile(rf"^CLIP unavailable since (\d+ \w+, )?\d\d:\d\d{_FALLBACK_ANSWERS}$")
        expect(_state(page)).to_have_text(missing)
        with _clip_service(port, tmp_path):
            expect(_state(page)).to_have_text("CLIP answers", timeout=60_000)
        expect(_state(page)).to_have_text(missing, timeout=60_000)


def test_state_says_that_the_server_is_gone_and_back(
    visit: Callable[..., Page], settings: Settings, faults: list[str]
) -> None:
    """While nothing answers the page says so, and takes it back by itself."""
    changed = settings.model_copy(update={"port": _free_port()})
    with open_application(changed) as application, serving(application, fetch_model=False) as server:
        page = visit(server.url)
        expect(_state(page)).to_have_text(f"CLIP is not loaded{_FALLBACK_ANSWERS}")
    expect(_state(page)).to_have_text("The server cannot be reached", timeout=30_000)
    with open_application(changed) as application, serving(application, fetch_model=False):
        expect(_state(page)).to_have_text(f"CLIP is not loaded{_FALLBACK_ANSWERS}", timeout=30_000)
    assert [fault for fault in faults if "net::ERR_" not in fault] == []
    faults.clear()


@pytest.mark.parametrize(
    ("clip", "reason", "words"),
    [
        ("in_process", None, "CLIP answers"),
        ("in_process", "clip_unavailable", f"CLIP is not loaded{_FALLBACK_ANSWERS}"),
        ("in_process", "clip_downloading", f"CLIP is being downloaded{_FALLBACK_ANSWERS}"),
        ("available", "clip_indexing", f"CLIP is indexing the catalogue{_FALLBACK_ANSWERS}"),
        ("available", "clip_unavailable", f"CLIP does not answer{_FALLBACK_ANSWERS}"),
        ("starting", "clip_downloading", f"CLIP is being downloaded{_FALLBACK_ANSWERS}"),
        ("starting", None, f"CLIP is loading{_FALLBACK_ANSWERS}"),
        ("unknown", "clip_unavailable", f"Looking for CLIP{_FALLBACK_ANSWERS}"),
        ("unavailable", None, f"CLIP unavailable since 1 Mar, 14:03{_FALLBACK_ANSWERS}"),
    ],
)
def test_state_in_words(visit: Callable[..., Page], clip: str, reason: str | None, words: str) -> None:
    """Each state of CLIP has its words; a service that is gone counts before what would answer if asked."""
    page = visit(timezone_id="UTC")
    _answer_health(page, _health(clip, reason))
    page.reload()
    expect(_state(page)).to_have_text(words)


def test_state_is_announced_once_and_not_asked_for_unseen(page: Page) -> None:
    """The same state is asked for every few seconds but not said again, and a hidden page asks for nothing."""
    health = _health("available", None)
    _answer_health(page, health)
    page.clock.install()
    page.reload()
    expect(_state(page)).to_have_text("CLIP answers")
    expect(page.get_by_role("status").filter(has_text="CLIP answers")).to_be_visible()
    page.clock.pause_at(page.evaluate("Date.now() + 60_000"))
    page.evaluate("() => { window.said = 0; new MutationObserver(() => said++).observe(state, { childList: true }) }")

    for _ in range(3):
        with page.expect_response("**/health"):
            page.clock.run_for(5_000)
    assert page.evaluate("said") == 0

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/health") else None)
    _hide(page, True)
    page.clock.run_for(60_000)
    assert asked == []

    health.update(_health("available", "clip_indexing"))
    with page.expect_response("**/health"):
        _hide(page, False)
    expect(_state(page)).to_have_text(f"CLIP is indexing the catalogue{_FALLBACK_ANSWERS}")
    assert page.evaluate("said") == 1


def test_state_is_asked_for_when_an_answer_tells_otherwise(page: Page, shop: Shop) -> None:
    """An answer from the fallback while the page says "CLIP answers" does not wait for the next look."""
    health = _health("available", None)
    _answer_health(page, health)
    page.clock.install()
    page.reload()
    expect(_state(page)).to_have_text("CLIP answers")
    page.clock.pause_at(page.evaluate("Date.now() + 1_000"))

    health.update(_health("unavailable", "clip_unavailable"))
    _search_by_photo(page, shop.photo)
    expect(_state(page)).to_contain_text("CLIP unavailable")


def test_empty_catalogue_says_how_to_fill_it(visit: Callable[..., Page]) -> None:
    """A shop without products is told the command that imports them."""
    page = visit()
    _empty_catalogue(page)
    expect(_notice(page)).to_contain_text("seesame import PATH")


@pytest.mark.parametrize("size", [_DESKTOP, _PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_use_it(
    visit: Callable[..., Page], shop: Shop, scheme: str, size: tuple[int, int], tmp_path: Path, faults: list[str]
) -> None:
    """No state of the page breaks a rule of accessibility or is wider than the window."""
    page = visit(size=size, color_scheme=scheme, reduced_motion="reduce")
    _check(page, "start")

    _search_by_photo(page, shop.photo)
    _check(page, "photo")
    page.get_by_role("group", name="Category").get_by_role("button").first.click()
    _settle(page)
    _check(page, "filtered")
    _cards(page).first.get_by_role("link", name="More like this").click()
    expect(_subject(page)).to_contain_text("Similar to")
    _settle(page)
    _check(page, "similar")
    page.get_by_label("Max price").fill("0.01")
    page.get_by_label("Max price").press("Enter")
    expect(_notice(page)).to_contain_text("No matches")
    _check(page, "nothing")

    impostor = tmp_path / "photo.jpg"
    impostor.write_text("This is not a picture.")
    page.set_input_files("#photo", impostor)
    expect(_notice(page)).to_contain_text("not a picture")
    _check(page, "refused")
    faults.clear()

    page.route("**/v1/search", _never)
    _words(page).fill("waiting")
    _words(page).press("Enter")
    expect(page.locator(".skeleton").first).to_be_attached()
    _check(page, "waiting")

    _empty_catalogue(page)
    _check(page, "empty")

    health: dict[str, Any] = {}
    _answer_health(page, health)
    for clip, database in [("available", "ok"), ("unavailable", "ok"), ("unavailable", "down")]:
        health.update(_health(clip, None, database=database))
        page.reload()
        expect(_state(page)).not_to_be_empty()
        _settle(page)
        _check(page, f"CLIP {clip}, database {database}")
    expect(_state(page)).to_be_in_viewport()


def _check(page: Page, state: str) -> None:
    report = Axe().run(page)
    assert report.violations_count == 0, f"{state}: {report.generate_report()}"
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert too_wide == 0, f"{state}: {too_wide} pixels too wide"


def _settle(page: Page) -> None:
    """Waits until no search is under way."""
    expect(page.locator("#grid")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator(".skeleton")).to_have_count(0)


def _never(_: Route) -> None:
    """Leaves a request without an answer."""


def _search_by_photo(page: Page, photo: Path) -> None:
    page.set_input_files("#photo", photo)
    expect(_heading(page)).to_have_text("Looks like your photo")
    _settle(page)


def _empty_catalogue(page: Page) -> None:
    stats = {"products": 0, "images": 0, "categories": [], "spaces": [], "answers_from": "x", "degraded_reason": None}
    page.route("**/v1/stats", lambda route: route.fulfill(json=stats))
    page.route("**/v1/products?*", lambda route: route.fulfill(json={"products": [], "total": 0}))
    page.goto("/")
    expect(_notice(page)).to_contain_text("empty")


def _health(clip: str, reason: str | None, *, database: str = "ok") -> dict[str, Any]:
    """What the server says of itself; a service is so since the first of March."""
    status = "down" if database == "down" else "degraded" if reason else "ok"
    since = None if clip == "in_process" else "2026-03-01T14:03:00Z"
    facts = {"status": status, "database": database, "answers_from": "x", "degraded_reason": reason}
    return facts | {"clip": {"status": clip, "since": since}}


def _answer_health(page: Page, health: dict[str, Any]) -> None:
    """Answers for the server from now on, with what `health` holds by then."""
    page.route("**/health", lambda route: route.fulfill(json=health))


def _hide(page: Page, hidden: bool) -> None:
    """Tells the page that its tab went to the back, or came to the front."""
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def _free_port() -> int:
    """A port that was free a moment ago, for what comes and goes."""
    with listen("127.0.0.1", 0) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def _clip_service(port: int, cache_dir: Path) -> Iterator[None]:
    """`seesame clip` as a process of its own, with a tiny model."""
    environment = os.environ | {"SEESAME_MODEL": str(_MODEL), "SEESAME_CACHE_DIR": str(cache_dir)}
    command = [sys.executable, "-m", "seesame", "clip", "--port", str(port)]
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield
        finally:
            process.terminate()


def _product_ids(page: Page) -> list[str]:
    return [link.get_attribute("data-similar") or "" for link in page.locator(".similar").all()]


def _cards(page: Page) -> Locator:
    return page.locator(".card:not(.skeleton)")


def _heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=2)


def _notice(page: Page) -> Locator:
    return page.locator("#notice")


def _state(page: Page) -> Locator:
    return page.locator("#state")


def _subject(page: Page) -> Locator:
    return page.locator("#subject")


def _words(page: Page) -> Locator:
    return page.get_by_role("searchbox")
