"""Photos on the page: how they come, and how a part of one is searched."""

import base64
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Request, expect

from tests.acceptance.shopper import (
    REFUSED,
    TOUCH,
    cards,
    choose,
    heading,
    notice,
    product_ids,
    search_by_photo,
    search_by_words,
    settle,
)
from tests.conftest import Shop

_SENT = re.compile(rb'name="(\w+)"')
_REGION = re.compile(rb'name="region"\r\n\r\n([\d.,]+)')


def test_photo_finds_its_product_first(page: Page, shop: Shop) -> None:
    """A chosen photo shows the product it was taken of first, beside the photo itself."""
    with page.expect_file_chooser() as chooser:
        page.locator("#pick").click()
    chooser.value.set_files(shop.photo)

    expect(heading(page)).to_have_text("Looks like your photo")
    expect(cards(page).first.locator(".match")).to_have_text(re.compile(r"Similarity 0\.\d\d"))
    assert product_ids(page)[0] == shop.photo_product_id
    expect(page.get_by_role("img", name="Your photo")).to_be_visible()
    assert page.url.endswith("/")  # addresses are shared; what somebody photographed is not


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

    expect(heading(page)).to_have_text("Looks like your photo")
    settle(page)
    assert product_ids(page)[0] == shop.photo_product_id


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
    expect(heading(page)).to_have_text("Looks like your photo")
    settle(page)
    assert product_ids(page)[0] == shop.photo_product_id


def test_camera_is_offered_on_a_phone(visit: Callable[..., Page], shop: Shop) -> None:
    """On a phone a photo may be taken for the search."""
    page = visit(**TOUCH)
    expect(page.get_by_text("Take a photo")).to_be_visible()
    expect(page.get_by_label("Take a photo")).to_have_attribute("capture", "environment")
    page.get_by_label("Take a photo").set_input_files(shop.photo)
    expect(heading(page)).to_have_text("Looks like your photo")


def test_large_photo_is_made_smaller_and_upright(page: Page, shop: Shop, tmp_path: Path) -> None:
    """A photo of a camera held upright goes out with 1,600 pixels on its longest side, and upright."""
    lying = tmp_path / "lying.jpg"
    with Image.open(shop.photo) as photo:
        large = photo.resize((photo.width * 4000 // photo.height, 4000)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    large.save(lying, exif=exif)

    search_by_photo(page, lying)
    shown = page.get_by_role("img", name="Your photo")  # what was sent
    width, height = shown.evaluate("(img) => [img.naturalWidth, img.naturalHeight]")
    assert max(width, height) == height == 1600
    assert product_ids(page)[0] == shop.photo_product_id


def test_words_refine_a_photo(page: Page, shop: Shop) -> None:
    """Words that are typed while a photo is there are searched with it, and the photo is not sent again."""
    search_by_photo(page, shop.photo)
    sent = _sent_when(page, lambda: search_by_words(page, "umbrella"))
    expect(heading(page)).to_have_text("Looks like your photo, “umbrella”")
    assert b"photo" in _SENT.findall(sent)  # its id
    settle(page)
    assert all("mbrella" in title for title in page.locator(".title").all_inner_texts()[:5])


def test_photo_that_the_server_forgot_is_sent_again(page: Page, shop: Shop, faults: list[str]) -> None:
    """Where the server keeps the photo no longer, the page sends it once more by itself."""
    search_by_photo(page, shop.photo)
    photo_id = page.locator("#given [name=photo]").get_attribute("value")
    assert page.request.delete(f"/v1/search/images/{photo_id}").ok
    sent: list[bytes] = []
    page.on("request", lambda request: _note(sent, request))
    search_by_words(page, "umbrella")
    expect(heading(page)).to_have_text("Looks like your photo, “umbrella”")
    assert [b"photo" in _SENT.findall(body) for body in sent] == [True, False]
    assert product_ids(page)[0] == shop.photo_product_id
    assert [fault for fault in faults if not fault.startswith(f"{REFUSED} 404")] == []
    faults.clear()


def test_back_leads_to_the_photo_again(page: Page, shop: Shop) -> None:
    """Back and forward bring the photo, its part and its results back."""
    search_by_photo(page, shop.photo)
    found = product_ids(page)
    _sent_when(page, lambda: page.get_by_role("button", name="Choose a part").click())
    settle(page)
    page.get_by_role("button", name="Remove photo").click()
    expect(heading(page)).to_have_text("From the catalogue")
    expect(page.locator("#photo")).to_be_hidden()

    page.go_back()
    expect(heading(page)).to_have_text("Looks like this part of your photo")
    expect(_frame(page)).to_be_visible()
    page.go_back()
    expect(heading(page)).to_have_text("Looks like your photo")
    expect(_frame(page)).to_have_count(0)
    expect(page.get_by_role("img", name="Your photo")).to_be_visible()
    settle(page)
    assert product_ids(page) == found


def test_reload_keeps_the_results_of_a_photo(page: Page, shop: Shop) -> None:
    """After a reload the server still knows the photo, though the browser has it no more."""
    search_by_photo(page, shop.photo)
    found = product_ids(page)
    page.reload()
    expect(heading(page)).to_have_text("Looks like your photo")
    settle(page)
    assert product_ids(page) == found


def test_part_is_drawn_with_the_mouse(page: Page, shop: Shop) -> None:
    """Dragging on the photo draws a frame, whose inside is searched without the photo being sent again; a click draws
    nothing."""
    search_by_photo(page, shop.photo)
    page.locator("#stage img").click(position={"x": 5, "y": 5})
    expect(_frame(page)).to_have_count(0)
    sent = _sent_when(page, lambda: _drag(page, (0.25, 0.25), (0.75, 0.8)))
    assert b"photo" in _SENT.findall(sent)  # its id
    assert _region(sent) == pytest.approx([0.25, 0.25, 0.5, 0.55], abs=0.01)

    moved = _sent_when(page, lambda: _drag(page, (0.5, 0.5), (0.6, 0.4)))
    assert _region(moved) == pytest.approx([0.35, 0.15, 0.5, 0.55], abs=0.01)
    resized = _sent_when(page, lambda: _drag(page, (0.85, 0.7), (0.6, 0.5)))
    assert _region(resized) == pytest.approx([0.35, 0.15, 0.25, 0.35], abs=0.01)

    whole = _sent_when(page, lambda: page.get_by_role("button", name="Whole photo").click())
    assert b"region" not in _SENT.findall(whole)


def test_part_is_drawn_with_a_finger(visit: Callable[..., Page], shop: Shop) -> None:
    """On a phone a finger draws the frame, and the page does not scroll under it."""
    page = visit(**TOUCH)
    search_by_photo(page, shop.photo)
    box = page.locator("#stage").bounding_box()
    assert box
    protocol = page.context.new_cdp_session(page)
    scrolled = page.evaluate("scrollY")

    def touch(kind: str, x: float, y: float) -> None:
        points = [] if kind == "touchEnd" else [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}]
        protocol.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def draw() -> None:
        touch("touchStart", 0.2, 0.8)
        touch("touchMove", 0.5, 0.5)
        touch("touchMove", 0.8, 0.2)
        touch("touchEnd", 0.8, 0.2)

    assert _region(_sent_when(page, draw)) == pytest.approx([0.2, 0.2, 0.6, 0.6], abs=0.02)
    assert page.evaluate("scrollY") == scrolled


def test_part_is_chosen_with_keys(page: Page, shop: Shop) -> None:
    """Arrow keys move the frame, with Shift they resize it, it is read out, and Escape removes it."""
    search_by_photo(page, shop.photo)
    begun = _sent_when(page, lambda: page.get_by_role("button", name="Choose a part").press("Enter"))
    assert _region(begun) == pytest.approx([0.2, 0.2, 0.6, 0.6])
    settle(page)
    expect(_frame(page)).to_be_focused()

    def press() -> None:
        for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowLeft", "Shift+ArrowDown"):
            page.keyboard.press(key)
        expect(page.locator("#spoken")).to_have_text("24 % from the left, 22 % from the top, 58 % wide, 62 % high")

    assert _region(_sent_when(page, press)) == pytest.approx([0.24, 0.22, 0.58, 0.62])
    settle(page)
    expect(_frame(page)).to_be_focused()
    expect(_frame(page)).to_have_attribute("aria-label", re.compile("24 % from the left"))

    _sent_when(page, lambda: page.keyboard.press("Escape"))
    expect(_frame(page)).to_have_count(0)
    expect(page.get_by_role("button", name="Choose a part")).to_be_focused()


def test_filters_keep_the_photo_and_its_part(page: Page, shop: Shop) -> None:
    """A filter narrows what looks like the part, and stands in the address beside it."""
    search_by_photo(page, shop.photo)
    _sent_when(page, lambda: _drag(page, (0.2, 0.2), (0.8, 0.8)))
    settle(page)
    sent = _sent_when(page, lambda: choose(page, "category", "umbrellas"))
    assert _region(sent) == pytest.approx([0.2, 0.2, 0.6, 0.6], abs=0.01)
    assert page.url.endswith("/?category=umbrellas")
    assert product_ids(page)[0] == shop.photo_product_id


def test_parts_that_stand_out_are_dots(page: Page, shop: Shop) -> None:
    """What stands out on the photo has a dot, which names what it looks like and searches it; then its frame has the
    focus, and the dot makes room for it."""
    search_by_photo(page, shop.photo)
    dot = page.get_by_role("button", name="Search this part: umbrellas")
    left, top, width, height = _region(_sent_when(page, lambda: dot.press("Enter")))
    assert 0 < left < left + width < 1
    assert 0 < top < top + height < 1
    expect(heading(page)).to_have_text("Looks like this part of your photo")
    expect(_frame(page)).to_be_focused()
    expect(dot).to_be_hidden()
    settle(page)
    assert product_ids(page)[0] == shop.photo_product_id

    _sent_when(page, lambda: page.keyboard.press("Escape"))
    expect(dot).to_be_visible()


def test_photo_on_which_nothing_stands_out_has_no_dots(page: Page, tmp_path: Path) -> None:
    """Where the server proposes the whole photo, that is what is searched already."""
    bare = tmp_path / "bare.png"
    Image.linear_gradient("L").save(bare)
    with page.expect_response("**/v1/search/regions") as proposed:
        search_by_photo(page, bare)
    assert proposed.value.ok
    proposed.value.finished()
    page.evaluate("() => new Promise(requestAnimationFrame)")  # by then dots would be there
    assert page.locator(".dot").count() == 0


def test_text_file_named_jpg_is_refused_in_words(page: Page, shop: Shop, tmp_path: Path, faults: list[str]) -> None:
    """A file that is no picture is explained in an alert; the next photo works."""
    impostor = tmp_path / "photo.jpg"
    impostor.write_text("This is not a picture.")
    page.set_input_files("#image", impostor)

    expect(notice(page)).to_contain_text("This file is not a picture")
    expect(page.get_by_role("alert")).to_contain_text("HEIC")
    assert [fault for fault in faults if not fault.startswith(f"{REFUSED} 415")] == []
    faults.clear()
    search_by_photo(page, shop.photo)
    assert product_ids(page)[0] == shop.photo_product_id


def _frame(page: Page) -> Locator:
    return page.locator("#stage .crop")


def _sent_when(page: Page, act: Callable[[], object]) -> bytes:
    """The body of the form that an action sends, once it is answered."""
    with page.expect_response(lambda response: response.request.method == "POST" and _is_page(response.request)) as got:
        act()
    return got.value.request.post_data_buffer or b""


def _is_page(request: Request) -> bool:
    return request.url.endswith("/")


def _note(sent: list[bytes], request: Request) -> None:
    if request.method == "POST" and _is_page(request):
        sent.append(request.post_data_buffer or b"")


def _region(sent: bytes) -> list[float]:
    found = _REGION.search(sent)
    assert found
    return [float(number) for number in found[1].decode().split(",")]


def _drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """With the mouse, between places on the photo in fractions of its sides."""
    box = page.locator("#stage").bounding_box()
    assert box
    for place, then in ((start, page.mouse.down), (end, page.mouse.up)):
        page.mouse.move(box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"], steps=3)
        then()
