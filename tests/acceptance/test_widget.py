"""The widget in a real browser, in pages of another origin than the API."""

import base64
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page, Route, ViewportSize, expect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seesame.api.app import create_app
from seesame.application import open_application
from seesame.cli.serve import serving
from tests.conftest import Shop
from tests.hostile import saved

_EXAMPLE = Path(__file__).parents[2] / "examples" / "shop"
_HARDWIRED = "http://localhost:8000"  # where the example finds the API
_DESKTOP, _PHONE = (1280, 900), (360, 740)
_MAX_UPLOAD = 1_000_000
_STRANGERS = "http://localhost"  # the same pages, from an origin that was not named


class _Listener:
    """Passes requests on, and keeps each picture that a search sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.pictures: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()

        async def heard() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body"):
                kind = dict(scope["headers"])[b"content-type"]
                form = message_from_bytes(b"Content-Type: " + kind + b"\r\n\r\n" + body, policy=HTTP)
                parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
                self.pictures.append(parts["image"].get_content())
            return message

        await self._app(scope, heard if scope.get("path") == "/v1/search/image" else receive, send)


class _Pages(SimpleHTTPRequestHandler):
    """The example shop, and under /bare?… a page with nothing but a widget; both under a strict policy."""

    api = ""

    def do_GET(self) -> None:
        if self.path.startswith("/bare"):
            attributes = base64.urlsafe_b64decode(self.path.partition("?")[2]).decode()
            self._send("text/html", _BARE.format(api=self.api, attributes=attributes))
        elif self.path in ("/", "/index.html"):
            self._send("text/html", (_EXAMPLE / "index.html").read_text().replace(_HARDWIRED, self.api))
        else:
            super().do_GET()

    def _send(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.end_headers()
        self.wfile.write(text.encode())

    def end_headers(self) -> None:
        self.send_header(
            "Content-Security-Policy",
            f"default-src 'self'; script-src 'self' {self.api}; connect-src {self.api} http://127.0.0.1:1; "
            f"img-src 'self' blob: {self.api}; require-trusted-types-for 'script'",
        )
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


_BARE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Bare</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="icon.svg">
<script type="module" src="{api}/widget.js"></script></head>
<body><main><h1>Shop</h1><input id="other" aria-label="Other"><seesame-search {attributes}></seesame-search></main>
</body></html>"""


@dataclass(frozen=True)
class Site:
    """A shop's pages, and the API that they use."""

    pages: str
    api: str
    listener: _Listener
    photo: Path
    photo_product_id: str


@pytest.fixture(scope="module")
def site(shop: Shop) -> Iterator[Site]:
    """The example shop on one port, and on another an API on the sample catalogue that knows the shop's origin."""
    handler = partial(_Pages, directory=str(_EXAMPLE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        origin = f"http://127.0.0.1:{pages.server_port}"
        settings = shop.settings.model_copy(update={"cors_origins": origin, "max_upload_bytes": _MAX_UPLOAD})
        with open_application(settings) as application:
            listener = _Listener(create_app(application))
            with serving(application, app=listener, index=False, fetch_model=False) as server:
                _Pages.api = server.url
                threading.Thread(target=pages.serve_forever, daemon=True).start()
                yield Site(origin, server.url, listener, shop.photo, shop.photo_product_id)
                pages.shutdown()


@pytest.fixture
def faults() -> list[str]:
    """What the browser complained about. A test that provokes complaints takes them out."""
    return []


@pytest.fixture
def visit(browser: Browser, site: Site, faults: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens a page of the shop; in the end the browser must not have complained."""
    contexts: list[BrowserContext] = []

    def refused(dialog: Dialog) -> None:
        faults.append(dialog.message)
        dialog.dismiss()

    def opened(path: str = "/", *, size: tuple[int, int] = _DESKTOP, base: str = site.pages, **options: Any) -> Page:
        viewport = ViewportSize(width=size[0], height=size[1])
        context = browser.new_context(base_url=base, viewport=viewport, locale="en-GB", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", refused)
        page.add_init_script(
            """window.events = [];
            for (const name of ["search", "results", "select", "error"])
                document.addEventListener(`seesame-${name}`, ({ type, detail }) => events.push([type, detail]));"""
        )
        page.goto(path)
        page.evaluate("customElements.whenDefined('seesame-search').then(() => null)")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def bare(visit: Callable[..., Page]) -> Callable[..., Page]:
    """Opens a page with nothing but a widget of these attributes."""

    def opened(attributes: str = "", **options: Any) -> Page:
        return visit(f"/bare?{base64.urlsafe_b64encode(attributes.encode()).decode()}", **options)

    return opened


def test_photo_finds_its_product(visit: Callable[..., Page], site: Site) -> None:
    """In the example shop a chosen photo brings its product first, with picture, price and the photo itself."""
    page = visit()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Search by photo").click()
    chooser.value.set_files(site.photo)

    expect(_status(page)).to_have_text("Products: 8")
    expect(_cards(page)).to_have_count(8)
    assert _answer(page)["results"][0]["product_id"] == site.photo_product_id
    first = _cards(page).first
    assert first.locator("img").evaluate("async (img) => { await img.decode(); return img.naturalWidth; }") > 0
    expect(first.locator(".price")).to_have_text(re.compile(r"\d"))
    expect(page.locator(".query")).to_have_text("Your photoClear")
    expect(page.locator(".preview")).to_be_visible()
    assert [kind for kind, _ in _events(page)] == ["seesame-search", "seesame-results"]
    assert _events(page)[0][1]["query"]["kind"] == "photo"


def test_photo_is_turned_upright_and_made_small_before_it_is_sent(bare: Callable[..., Page], site: Site) -> None:
    """The API gets a JPEG of 1,024 pixels, upright, without what the camera noted."""
    image = Image.new("RGB", (3000, 2000), "blue")
    image.paste("red", (0, 0, 1500, 2000))  # the left half; turned by a quarter to the right, the upper one
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    exif[0x010F] = "Maker"
    out = BytesIO()
    image.save(out, "JPEG", exif=exif, quality=98)
    page = bare()
    _search_by_photo(page, {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": out.getvalue()})

    sent = site.listener.pictures[-1]
    received = Image.open(BytesIO(sent))
    assert (received.format, received.size) == ("JPEG", (683, 1024))
    assert not received.getexif()
    assert b"Maker" not in sent
    assert len(sent) < len(out.getvalue())
    assert _is_near(received.getpixel((340, 200)), (255, 0, 0))
    assert _is_near(received.getpixel((340, 800)), (0, 0, 255))


def test_transparency_becomes_white_and_nothing_is_made_larger(bare: Callable[..., Page], site: Site) -> None:
    """A small picture with transparent parts keeps its size and is on white, as the API itself would put it."""
    out = BytesIO()
    Image.new("RGBA", (60, 40), (0, 0, 0, 0)).save(out, "PNG")
    _search_by_photo(bare(), {"name": "a.png", "mimeType": "image/png", "buffer": out.getvalue()})
    received = Image.open(BytesIO(site.listener.pictures[-1]))
    assert (received.format, received.size) == ("JPEG", (60, 40))
    assert _is_near(received.getpixel((30, 20)), (255, 255, 255))


def test_what_the_browser_cannot_read_is_sent_as_it_is(bare: Callable[..., Page], site: Site) -> None:
    """A HEIC photo, which Chromium cannot decode, reaches the API unchanged and is searched."""
    photo = saved("HEIC", Image.open(site.photo).convert("RGB"))
    page = bare()
    _search_by_photo(page, {"name": "a.heic", "mimeType": "image/heic", "buffer": photo})
    assert site.listener.pictures[-1] == photo
    assert _answer(page)["results"][0]["product_id"] == site.photo_product_id
    expect(page.locator(".preview")).to_be_hidden()


def test_pasted_and_dropped_photos_are_searched(bare: Callable[..., Page], site: Site) -> None:
    """Ctrl+V anywhere but in another field, and a drop on the widget, search with the picture."""
    page = bare()
    transfer = page.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], "photo.jpg",
                                        { type: "image/jpeg" }));
            return transfer;
        }""",
        base64.b64encode(site.photo.read_bytes()).decode(),
    )
    paste = """(element, clipboardData) => element.dispatchEvent(
        new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true, composed: true }))"""
    page.locator("#other").evaluate(paste, transfer)
    assert _events(page) == []
    page.locator("body").evaluate(paste, transfer)
    expect(_status(page)).to_have_text("Products: 12")
    _clear(page)

    box = page.locator(".box")
    box.dispatch_event("dragover", {"dataTransfer": transfer})
    expect(box).to_have_class("box over")
    box.dispatch_event("drop", {"dataTransfer": transfer})
    expect(box).to_have_class("box")
    expect(_status(page)).to_have_text("Products: 12")
    assert _answer(page)["results"][0]["product_id"] == site.photo_product_id


def test_keyboard_alone_is_enough(bare: Callable[..., Page], site: Site) -> None:
    """Tab and Enter reach everything, and the focus is never lost when what had it goes."""
    page = bare('limit="3"')
    page.on("filechooser", lambda chooser: chooser.set_files(site.photo))  # well before Enter, as it takes a while
    page.locator("#other").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Search by photo")).to_be_focused()
    page.keyboard.press("Enter")
    expect(_status(page)).to_have_text("Products: 3")

    title = _answer(page)["results"][0]["product"]["title"]
    _press_until(page, f"More like this: {title}")
    page.keyboard.press("Enter")
    expect(_status(page)).to_be_focused()
    expect(page.locator(".query")).to_contain_text(title)
    page.wait_for_function("() => events.filter(([kind]) => kind === 'seesame-results').length === 2")
    assert site.photo_product_id not in [result["product_id"] for result in _answer(page)["results"]]

    _press_until(page, "Clear", key="Shift+Tab")
    page.keyboard.press("Enter")
    expect(_cards(page)).to_have_count(0)
    expect(page.get_by_role("button", name="Search by photo")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type("umbrella")
    page.keyboard.press("Enter")
    expect(_status(page)).to_have_text("Products: 3")
    assert _events(page)[-1][1]["query"] == {"kind": "words", "words": "umbrella"}


def test_chosen_product_opens_in_the_shops_own_view(visit: Callable[..., Page], site: Site) -> None:
    """A shop that cancels `seesame-select` shows the product itself, with the whole picture."""
    page = visit()
    _search_by_photo(page, site.photo)
    title = _answer(page)["results"][0]["product"]["title"]
    _cards(page).first.locator(".title").click()
    dialog = page.get_by_role("dialog", name=title)
    expect(dialog).to_be_visible()
    assert re.fullmatch(rf"{site.api}/v1/images/[0-9a-f-]+", dialog.locator("img").get_attribute("src") or "")
    dialog.get_by_role("button", name="Add to basket").click()
    expect(page.locator("#count")).to_have_text("1")
    assert page.url == f"{site.pages}/"


def test_product_links_lead_to_the_shop(bare: Callable[..., Page], site: Site) -> None:
    """A click follows the address of the product, which may be relative to the page; scripts never run."""
    attack = "<img src=x onerror=alert(1)><script>alert(2)</script> zebra"
    addresses = {"web": f"{site.pages}/bare?#web", "path": "/index.html", "script": "javascript:alert(3)", "none": None}
    with httpx2.Client(base_url=site.api) as client:
        for name, url in addresses.items():
            product = {"title": f"{attack} {name}", "url": url, "price": 1, "currency": "EUR"}
            assert client.put(f"/v1/products/attack-{name}", json=product).status_code == 201
        try:
            page = bare("""lang="?" filter='{"price": {"lte": 1}}'""")
            _search_by_words(page, "zebra")
            expect(_cards(page)).to_have_count(4)
            found = {card.locator(".title").inner_text(): card for card in _cards(page).all()}
            links = {name: found[f"{attack} {name}"].locator("a") for name in addresses}
            expect(links["web"]).to_have_attribute("href", addresses["web"] or "")
            expect(links["path"]).to_have_attribute("href", f"{site.pages}/index.html")
            expect(links["script"]).to_have_count(0)
            expect(links["none"]).to_have_count(0)
            expect(_cards(page).first.locator(".price")).to_have_text("1 EUR")  # the language is none
            links["path"].click()
            page.wait_for_url("**/index.html")
        finally:
            for name in addresses:
                client.delete(f"/v1/products/attack-{name}")


def test_filter_texts_and_language(bare: Callable[..., Page], site: Site) -> None:
    """Attributes and properties, also those that were set before the script was there, hold from the next search on."""
    page = bare("""lang="de-AT" limit="2" texts='{"photo": "Foto her"}'""")
    expect(page.get_by_role("button", name="Foto her")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_attribute("placeholder", "Beschreiben oder Foto hierher ziehen")
    _search_by_words(page, "umbrella")
    expect(_status(page)).to_have_text("Produkte: 2")
    expect(_cards(page).first.locator(".price")).to_contain_text(",")

    category = _answer(page)["results"][0]["product"]["category"]
    page.evaluate(
        """([category]) => {
            const widget = document.querySelector("seesame-search");
            Object.assign(widget, { limit: 50, filter: { category: [category] }, texts: {}, lang: "fr" });
        }""",
        [category],
    )
    expect(page.get_by_role("button", name="Search by photo")).to_be_visible()
    _search_by_photo(page, site.photo)
    assert {result["product"]["category"] for result in _answer(page)["results"]} == {category}

    upgraded = page.evaluate(
        """() => {
            const early = document.createElement("seesame-search-later");
            early.filter = { price: 1 };
            customElements.define("seesame-search-later", class extends customElements.get("seesame-search") {});
            document.body.append(early);
            customElements.upgrade(early);
            return early.getAttribute("filter");
        }"""
    )
    assert upgraded == '{"price":1}'


def test_the_key_goes_along_with_each_search(bare: Callable[..., Page], site: Site) -> None:
    """As a header, which the API lets the shop's pages send."""
    page = bare("key='ssm_x'")
    page.evaluate("document.querySelector('seesame-search').searchText('umbrella')")
    expect(_status(page)).to_have_text(re.compile(r"Products: \d"))
    with page.expect_request(lambda request: request.method == "POST") as asked:
        page.get_by_role("button", name="More like this").first.click()
    assert asked.value.headers["authorization"] == "Bearer ssm_x"


def test_methods_answer_and_clear(bare: Callable[..., Page], site: Site) -> None:
    """A page can search by itself: a promise brings the answer, or null when a newer search came between."""
    page = bare()
    first, second, similar = page.evaluate(
        """async (productId) => {
            const widget = document.querySelector("seesame-search");
            const answers = await Promise.all([widget.searchText("umbrella"), widget.searchText("dress")]);
            return [...answers, await widget.searchSimilar(productId)];
        }""",
        site.photo_product_id,
    )
    assert first is None
    assert second["results"]
    assert site.photo_product_id not in [result["product_id"] for result in similar["results"]]
    page.evaluate("document.querySelector('seesame-search').clear()")
    expect(_cards(page)).to_have_count(0)
    expect(_status(page)).to_be_empty()


def test_new_search_ends_the_one_in_flight(bare: Callable[..., Page], site: Site) -> None:
    """The request of a search that is overtaken is given up, and its answer is never shown."""
    page = bare()
    page.route("**/v1/search", lambda _: None)
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/v1/search")):
        page.get_by_role("searchbox").fill("slow")
        page.keyboard.press("Enter")
        expect(_status(page)).to_have_text("Searching…")
        _search_by_photo(page, site.photo)
    assert [kind for kind, _ in _events(page)] == ["seesame-search", "seesame-search", "seesame-results"]


def test_answers_in_plain_words(bare: Callable[..., Page], site: Site) -> None:
    """Nothing found, nothing alike and a smaller model: the first two are said, the last is not."""
    page = bare()
    _search_by_words(page, "qqqqqq")
    expect(_status(page)).to_have_text("Nothing found. Try another photo, or other words.")

    good: dict[str, Any] = {"good_match": False}
    page.route("**/v1/search/image", lambda route: _changed(route, good))
    _search_by_photo(page, site.photo)
    expect(_status(page)).to_have_text("Nothing here looks much like it. These come closest.")
    expect(_cards(page)).to_have_count(12)
    good["good_match"] = None
    _clear(page)
    _search_by_photo(page, site.photo)
    assert _answer(page)["degraded"] is True
    expect(_status(page)).to_have_text("Products: 12")


@pytest.mark.parametrize(
    ("name", "buffer", "words"),
    [
        ("a.jpg", b"This is no picture.", "This photo cannot be read. Try another one."),
        ("cut.heic", saved("HEIC")[:-500], "This photo cannot be read. Try another one."),
        ("large.jpg", b"\xff\xd8\xff" + bytes(_MAX_UPLOAD), "This photo is too large. Try a smaller one."),
    ],
)
def test_bad_photos_are_told(
    bare: Callable[..., Page], site: Site, faults: list[str], name: str, buffer: bytes, words: str
) -> None:
    """What is no picture, is broken or too large is said in words, to the page as well, and needs no retry."""
    page = bare()
    _choose(page, {"name": name, "mimeType": "image/jpeg", "buffer": buffer})
    expect(_status(page)).to_have_text(words)
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    kind, detail = _events(page)[-1]
    assert kind == "seesame-error"
    assert detail["status"] in (413, 415, 422)
    assert [fault for fault in faults if "the server responded with a status of 4" not in fault] == []
    faults.clear()
    _search_by_photo(page, site.photo)


def test_unreachable_api_is_told_and_tried_again(bare: Callable[..., Page], site: Site, faults: list[str]) -> None:
    """With no API there the widget says so; when there is one, "Try again" finds what was asked for."""
    page = bare('endpoint="http://127.0.0.1:1"')
    _choose(page, site.photo)
    expect(_status(page)).to_have_text("The search cannot be reached. Check the connection.")
    assert _events(page)[-1][0] == "seesame-error"
    assert (_events(page)[-1][1]["code"], _events(page)[-1][1]["status"]) == ("unreachable", 0)

    page.evaluate("api => { document.querySelector('seesame-search').endpoint = api; }", site.api)
    page.get_by_role("button", name="Try again").press("Enter")
    expect(_status(page)).to_be_focused()
    expect(_status(page)).to_have_text("Products: 12")
    assert [fault for fault in faults if "net::ERR_" not in fault] == []
    faults.clear()


def test_page_of_a_stranger_cannot_search(bare: Callable[..., Page], site: Site, faults: list[str]) -> None:
    """The browser keeps the answer from a page whose origin is not in the setting."""
    page = bare(base=site.pages.replace("http://127.0.0.1", _STRANGERS))
    _choose(page, site.photo)
    expect(_status(page)).to_have_text("The search cannot be reached. Check the connection.")
    assert any("CORS policy" in fault for fault in faults)
    faults.clear()


def test_busy_api_gets_the_pause_it_asks_for(bare: Callable[..., Page], site: Site, faults: list[str]) -> None:
    """After 429 the widget waits as long as Retry-After says, then tries once more by itself, and then asks."""
    page = bare()
    refusals = [3, 5, 5]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.route("**/v1/search/image", lambda route: _refused(route, refusals))
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    _choose(page, site.photo)
    expect(_status(page)).to_have_text("The search is busy right now.")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    page.clock.run_for(2900)
    assert len(asked) == 1
    page.clock.run_for(200)
    retry = page.get_by_role("button", name="Try again")
    expect(retry).to_be_visible()
    assert len(asked) == 2

    retry.click()  # which waits as well
    page.clock.run_for(4800)
    assert len(asked) == 2
    refusals.clear()
    page.clock.run_for(300)
    expect(_status(page)).to_have_text("Products: 12")
    assert len(asked) == 3
    assert [fault for fault in faults if "429" not in fault] == []
    faults.clear()


def test_silent_api_is_given_up(bare: Callable[..., Page], site: Site) -> None:
    """An API that takes a request and never answers counts as unreachable after half a minute."""
    page = bare()
    page.evaluate(
        """() => {
            const patience = new AbortController();
            AbortSignal.timeout = (ms) => { setTimeout(() => patience.abort(), ms); return patience.signal; };
        }"""
    )
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    page.route("**/v1/search/image", lambda _: None)
    with page.expect_request("**/v1/search/image"):
        _choose(page, site.photo)
    page.clock.run_for(29_000)
    expect(_status(page)).to_have_text("Searching…")
    page.clock.run_for(2_000)
    expect(_status(page)).to_have_text("The search cannot be reached. Check the connection.")


def test_mistake_in_an_attribute_is_for_the_console(bare: Callable[..., Page], faults: list[str]) -> None:
    """A filter that is no JSON never means a search without a filter: it fails, and the console says why."""
    page = bare('filter="{category: shoes}"')
    page.get_by_role("searchbox").fill("umbrella")
    page.keyboard.press("Enter")
    expect(_status(page)).to_have_text("Something went wrong. Try again later.")
    assert any("JSON" in fault for fault in faults)
    faults.clear()


def test_shop_sets_colours_shape_and_size(visit: Callable[..., Page], site: Site) -> None:
    """Variables and parts of the example's theme reach into the widget."""
    page = visit(color_scheme="light")
    page.locator("seesame-search").evaluate("element => element.style.setProperty('--seesame-image-ratio', 1)")
    _search_by_photo(page, site.photo)
    assert _style(page.get_by_role("button", name="Search", exact=True), "background-color") == "rgb(36, 83, 63)"
    assert _style(page.get_by_role("button", name="Search", exact=True), "border-radius") == "3px"
    assert _style(_cards(page).first.locator(".price"), "color") == "rgb(36, 83, 63)"
    frame = _cards(page).first.locator(".frame").bounding_box()
    assert frame is not None
    assert frame["width"] == pytest.approx(frame["height"], abs=1)


@pytest.mark.parametrize(("motion", "animation"), [("reduce", "none"), ("no-preference", "wait")])
def test_nothing_moves_for_those_who_do_not_want_it(bare: Callable[..., Page], motion: str, animation: str) -> None:
    """While it searches the widget pulses, except where the visitor asked for less motion."""
    page = bare(reduced_motion=motion)
    page.route("**/v1/search", lambda _: None)
    page.get_by_role("searchbox").fill("slow")
    page.keyboard.press("Enter")
    expect(_status(page)).to_have_text("Searching…")
    assert _style(_status(page), "animation-name") == animation


@pytest.mark.parametrize(("scheme", "size"), [("dark", _DESKTOP), ("light", _PHONE)], ids=["desktop", "phone"])
def test_everyone_can_use_it(
    visit: Callable[..., Page], site: Site, faults: list[str], scheme: str, size: tuple[int, int]
) -> None:
    """No state of the widget in the example shop breaks a rule of accessibility or is wider than the window."""
    phone = {"has_touch": True, "is_mobile": True} if size == _PHONE else {}
    page = visit(size=size, color_scheme=scheme, reduced_motion="reduce", **phone)
    expect(page.get_by_role("button", name="Take a photo")).to_be_visible(visible=size == _PHONE)
    _check(page, "start")
    _search_by_photo(page, site.photo)
    _check(page, "results")
    page.route("**/v1/search", lambda _: None)
    _cards(page).first.get_by_role("button", name="More like this").click()
    expect(_status(page)).to_have_text("Searching…")
    _check(page, "searching")
    page.unroute("**/v1/search")
    _search_by_words(page, "qqqqqq")
    _check(page, "nothing")
    page.route("**/v1/search/image", lambda route: route.abort())
    _choose(page, site.photo)
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    _check(page, "failure")
    faults.clear()
    page.unroute("**/v1/search/image")
    _search_by_photo(page, site.photo)
    _cards(page).first.locator(".title").click()
    _check(page, "chosen")


def _check(page: Page, state: str) -> None:
    report = Axe().run(page)
    assert report.violations_count == 0, f"{state}: {report.generate_report()}"
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert too_wide == 0, f"{state}: {too_wide} pixels too wide"


def _choose(page: Page, photo: Any) -> None:
    page.locator("seesame-search input[type=file]").set_input_files(photo)


def _search_by_photo(page: Page, photo: Any) -> None:
    _answered(page, lambda: _choose(page, photo))


def _search_by_words(page: Page, words: str) -> None:
    page.get_by_role("searchbox").fill(words)
    _answered(page, lambda: page.get_by_role("searchbox").press("Enter"))


def _answered(page: Page, ask: Callable[[], None]) -> None:
    """Asks, and waits for the answer to be shown."""
    before = page.evaluate("events.filter(([kind]) => kind === 'seesame-results').length")
    ask()
    page.wait_for_function("n => events.filter(([kind]) => kind === 'seesame-results').length > n", arg=before)


def _clear(page: Page) -> None:
    page.get_by_role("button", name="Clear").click()
    expect(_cards(page)).to_have_count(0)


def _press_until(page: Page, name: str, *, key: str = "Tab") -> None:
    """Moves on with the keyboard until what has this name, or begins with it, has the focus."""
    for _ in range(30):
        page.keyboard.press(key)
        focused = page.evaluate(
            """() => {
                const { activeElement } = document.querySelector("seesame-search").shadowRoot;
                return activeElement?.getAttribute("aria-label") ?? activeElement?.textContent ?? "";
            }"""
        )
        if focused.startswith(name):
            return
    pytest.fail(f"{name} cannot be reached with {key}")


def _changed(route: Route, change: dict[str, Any]) -> None:
    """Answers as the API does, but for what `change` holds."""
    reply = route.fetch()
    route.fulfill(response=reply, json=reply.json() | change)


def _refused(route: Route, refusals: list[int]) -> None:
    """Answers with 429 and these pauses, one after another, under the API's own headers for other origins."""
    reply = route.fetch()
    if not refusals:
        route.fulfill(response=reply)
        return
    headers = reply.headers | {"retry-after": str(refusals.pop(0)), "content-type": "application/problem+json"}
    route.fulfill(status=429, headers=headers, json={"code": "busy"})


def _events(page: Page) -> list[Any]:
    events: list[Any] = page.evaluate("events.map(([kind, detail]) => [kind, JSON.parse(JSON.stringify(detail))])")
    return events


def _answer(page: Page) -> dict[str, Any]:
    """The answer that is shown."""
    answer: dict[str, Any] = next(detail for kind, detail in reversed(_events(page)) if kind == "seesame-results")
    return dict(answer["answer"])


def _cards(page: Page) -> Locator:
    return page.locator("seesame-search .card")


def _status(page: Page) -> Locator:
    return page.locator("seesame-search").get_by_role("status")


def _style(locator: Locator, name: str) -> str:
    return str(locator.evaluate("(element, name) => getComputedStyle(element).getPropertyValue(name)", name))


def _is_near(pixel: Any, colour: tuple[int, int, int]) -> bool:
    return all(abs(a - b) < 12 for a, b in zip(pixel, colour, strict=True))
