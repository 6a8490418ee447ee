"""The pages of those who keep the catalogue, in a real browser, on a real server with real parts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from seesame.application import Application, open_application
from seesame.cli.serve import serving
from seesame.db.embedded import EmbeddedPostgres
from seesame.importing import BATCH
from seesame.types import Product, ProductImage
from tests.acceptance.shopper import DESKTOP, PHONE, REFUSED, check
from tests.conftest import copied_database, picture, shop_settings
from tests.picture_host import PictureHost, picture_host

_MODELS = Path(__file__).parents[1] / "goldens"
_MANY = 30


@dataclass(frozen=True)
class Kept:
    """A running server whose pictures are indexed only when a test says so."""

    url: str
    application: Application
    host: PictureHost

    def put(self, product_id: str, *pictures: bytes, title: str = "") -> list[ProductImage]:
        """Adds a product with pictures."""
        self.application.catalogue.put(Product(product_id, title=title or f"Title of {product_id}"))
        return [self.application.catalogue.add_image(product_id, data) for data in pictures]

    def file_of(self, image: ProductImage) -> Path:
        """Where a picture is stored."""
        return self.application.settings.data_dir / "pictures" / image.bytes_ref


@pytest.fixture(scope="module")
def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Kept]:
    """More products than a page shows, some of them duplicates."""
    with copied_database(postgres) as dsn, picture_host() as host:
        settings = shop_settings(dsn, tmp_path_factory.mktemp("kept"), cache_dir)
        settings = settings.model_copy(update={"allowed_image_hosts": host.name})
        with (
            open_application(settings) as application,
            serving(application, index=False, fetch_model=False) as server,
        ):
            kept = Kept(server.url, application, host)
            for number in range(_MANY):
                kept.put(f"plain {number}")
            kept.put("blue one", picture("blue"))
            kept.put("blue two", picture("blue"), picture("green"))
            application.indexer.run_once(finish=True)
            application.duplicates.update()
            yield kept


@pytest.fixture
def held_host(shop: Kept) -> Iterator[PictureHost]:
    """The host of the pictures; what it is told to hold back, it gives when the test ends."""
    shop.host.opened.clear()
    yield shop.host
    shop.host.opened.set()


def test_an_import_is_followed_to_its_end(visit: Callable[..., Page], shop: Kept, held_host: PictureHost) -> None:
    """A file is sent; its progress and errors appear by themselves, and its end is told."""
    count = BATCH + 20
    shop.host.pictures |= {f"/{number}.jpg": picture("red", spot=number) for number in range(count)}
    held_host.free_requests = held_host.sent() + BATCH + 5
    page = visit("/admin/imports")
    lines = [f"import {number},New {number},{shop.host.url(f'/{number}.jpg')}" for number in range(count)]
    lines[3] = "import 3,New 3,ftp://nowhere/x.jpg"
    _send(page, "spring.csv", ["product_id,title,images", *lines])

    expect(_heading(page)).to_have_text("spring.csv")
    bar = page.get_by_role("progressbar", name="Read so far")
    expect(bar).to_have_js_property("value", BATCH, timeout=20_000)
    expect(bar).to_have_js_property("max", count)
    expect(_badge(page)).to_have_text("Running")
    expect(page.locator("tbody tr")).to_have_text(["5import 3This URL is not allowed.url_not_allowed"])

    held_host.opened.set()
    expect(_told(page)).to_have_text("spring.csv has ended.", timeout=20_000)
    expect(_badge(page)).to_have_text("Done")
    expect(bar).to_be_hidden()
    expect(page.get_by_text(f"Records read: {count},")).to_be_visible()
    page.get_by_role("link", name="import 3").click()
    expect(_heading(page)).to_have_text("New 3")


def test_an_import_is_stopped(visit: Callable[..., Page], shop: Kept, held_host: PictureHost) -> None:
    """Somebody is asked first; "no" leaves it running, and "yes" ends it."""
    held_host.free_requests = held_host.sent()
    page = visit("/admin/imports")
    _send(page, "wrong.jsonl", [f'{{"product_id": "stopped", "images": ["{shop.host.url("/slow.jpg")}"]}}'])
    page.wait_for_url("**/admin/imports/*")
    expect(_badge(page)).to_have_text("Running")

    stop = page.get_by_role("button", name="Stop the import")
    stop.press("Enter")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(stop).to_be_focused()
    stop.press("Enter")
    page.locator("#yes").press("Enter")
    expect(_told(page)).to_have_text("The import was stopped.")
    expect(_badge(page)).to_have_text("Stopped")


def test_a_file_that_is_refused_is_told(visit: Callable[..., Page], faults: list[str]) -> None:
    """What the API says of a file stands on the page, where another can be chosen."""
    page = visit("/admin/imports")
    _send(page, "photo.exe", ["x"])
    expect(_told(page)).to_contain_text("Send CSV as text/csv or JSON Lines")
    expect(page.get_by_role("button", name="Import")).to_be_enabled()
    _forgive(faults, 415)


def test_a_sync_asks_and_deletes(visit: Callable[..., Page], shop: Kept) -> None:
    """Products that a file does not name go only after a question, and only few unless that is asked for."""
    lines = [f"{product_id},Title of {product_id}" for product_id in sorted(shop.application.catalogue.ids())]
    shop.put("unnamed")
    page = visit("/admin/imports")
    expect(page.get_by_label("even if they are more than 30 %")).to_be_hidden()
    page.get_by_label("are deleted").check()
    expect(page.get_by_label("even if they are more than 30 %")).to_be_visible()
    _send(page, "all.csv", ["product_id,title", *lines])
    expect(page.get_by_role("dialog")).to_contain_text("Delete the products that all.csv does not name?")
    page.get_by_role("button", name="Import and delete").click()
    expect(_heading(page)).to_have_text("all.csv")
    expect(_badge(page)).to_have_text("Done", timeout=20_000)
    expect(page.locator("[data-part=products_deleted]")).to_have_text("1")
    assert "unnamed" not in shop.application.catalogue.ids()


def test_a_failed_picture_is_retried(visit: Callable[..., Page], shop: Kept, faults: list[str]) -> None:
    """A picture that cannot be read is listed with the reason; once mended it is tried again and found."""
    (image,) = shop.put("damaged", picture("purple"))
    file = shop.file_of(image)
    whole = file.read_bytes()
    file.write_bytes(whole[:200])
    shop.application.indexer.run_once()
    page = visit("/admin/products/damaged")
    expect(_badge(page).first).to_have_text("1 of 1 failed")

    page.goto("/admin/failures")
    row = page.locator("[data-product=damaged]")
    expect(row).to_contain_text("Its file is damaged.")
    expect(row).to_contain_text("1 try for")
    file.write_bytes(whole)
    row.get_by_role("button", name="Try again: Title of damaged").press("Enter")
    expect(_told(page)).to_have_text("Tried again: Title of damaged.")
    expect(row).to_have_count(0)
    expect(_heading(page)).to_be_focused()

    shop.application.indexer.run_once()
    page.goto("/admin?q=damaged")
    expect(_badge(page)).to_have_text("Indexed")
    faults.clear()  # a thumbnail of a damaged file


def test_products_are_found_and_deleted(visit: Callable[..., Page], shop: Kept) -> None:
    """The newest come first, a page at a time; an id or words find one, which can be deleted with a word of warning."""
    attack = "a/b?c#d%2F\"'><img src=x onerror=alert(1)>"
    shop.put(attack, picture("red"), picture("orange"), title=attack)
    page = visit("/admin")
    expect(_rows(page).first).to_have_attribute("data-product", attack)
    expect(_rows(page)).to_have_count(24)
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("25–")).to_be_visible()

    page.goto(f"/admin?q={quote(attack)}")
    expect(_rows(page)).to_have_count(1)
    page.get_by_role("link", name=attack).click()
    expect(_heading(page)).to_have_text(attack)
    expect(page.locator(".pictures li")).to_have_count(2)
    page.get_by_role("button", name="Delete picture 2").click()
    page.locator("#yes").click()
    expect(_told(page)).to_have_text("The picture is deleted.")
    expect(page.locator(".pictures li")).to_have_count(1)

    page.get_by_role("button", name="Delete", exact=True).click()
    page.locator("#yes").click()
    expect(_told(page)).to_have_text(f"Deleted: {attack}.")
    expect(_heading(page)).to_have_text("Catalogue")
    assert attack not in shop.application.catalogue.ids()


def test_duplicates_are_listed(visit: Callable[..., Page]) -> None:
    """Pictures of the same file stand together, lead to their products, and can be asked for by product."""
    page = visit("/admin/duplicates")
    page.get_by_role("link", name="The same file").click()
    group = page.locator("[data-kind=exact]")
    expect(group.get_by_role("heading")).to_have_text("The same file in 2 products")
    assert {each.get_attribute("data-product") for each in group.locator("li").all()} == {"blue one", "blue two"}

    group.get_by_role("link", name="blue two").click()
    expect(_heading(page)).to_contain_text("blue two")
    page.get_by_role("link", name="Duplicates").last.click()
    expect(page.get_by_text("Only those of")).to_contain_text("blue two")
    page.get_by_role("link", name="Look-alikes").click()
    expect(page.get_by_text("None were found.")).to_be_visible()
    page.get_by_role("link", name="Placeholders").click()
    expect(_heading(page)).to_have_text("Placeholders")


def test_spaces_are_activated_and_rolled_back(visit: Callable[..., Page], shop: Kept, faults: list[str]) -> None:
    """The table shows how far each space is; one that lacks vectors is refused, and the health page follows."""
    application = shop.application
    first, second = (application.models.load(str(_MODELS / name), by_hand=True) for name in ("immich", "siglip"))
    assert first is not None
    assert second is not None
    page = visit("/admin/spaces")
    row = page.locator("tbody tr")
    expect(row).to_have_count(3)
    images = application.catalogue.totals()[1]
    application.indexer.complete(application.spaces.primary().key)
    page.reload()
    expect(row.filter(has_text="fallback")).to_contain_text(f"{images} of {images}")
    expect(row.filter(has_text=first.key)).to_contain_text(f"{images} vectors are missing")
    _activate(page, first.key)
    expect(_told(page)).to_contain_text("lack their vector")
    _forgive(faults, 409)

    application.indexer.run_once(finish=True)
    _activate(page, first.key)
    expect(_told(page)).to_have_text(f"{first.key} answers from now on.")
    expect(row.filter(has_text=first.key)).to_contain_text("primary")
    _activate(page, second.key)
    expect(row.filter(has_text=first.key)).to_contain_text("former primary")

    health = visit("/admin/health")
    health.clock.install()
    health.reload()
    expect(health.locator("[data-part=Answers]")).to_contain_text(second.key)
    page.get_by_role("button", name=f"Roll back {second.key}").click()
    page.locator("#yes").click()
    expect(_told(page)).to_have_text("The space before it answers again.")
    expect(health.locator("[data-part=Answers]")).to_contain_text(second.key)
    health.clock.run_for(5_000)
    expect(health.locator("[data-part=Answers]")).to_contain_text(first.key)


def test_a_server_that_is_away_is_told(visit: Callable[..., Page], faults: list[str]) -> None:
    """What is followed by itself says that it cannot be, and that it can be again."""
    page = visit("/admin/health")
    page.clock.install()
    page.reload()
    page.route("**/health", lambda route: route.abort())
    page.clock.run_for(5_000)
    expect(_told(page)).to_contain_text("The server cannot be reached.")
    page.unroute("**/health")
    page.clock.run_for(5_000)
    expect(_told(page)).to_have_text("The server answers again.")
    assert [fault for fault in faults if "net::ERR_FAILED" not in fault] == []
    faults.clear()


def test_another_model_is_asked_for(visit: Callable[..., Page], faults: list[str]) -> None:
    """A name that is no model's is refused in words."""
    page = visit("/admin/spaces")
    page.get_by_label("Fill a space for another model").fill("/etc")
    page.get_by_role("button", name="Begin").click()
    expect(_told(page)).to_contain_text("A name that `seesame models list` shows")
    _forgive(faults, 422)


def test_a_page_of_another_site_changes_nothing(visit: Callable[..., Page], shop: Kept, faults: list[str]) -> None:
    """What it sends by a form's means, which browsers let through, is refused; and goes no further."""
    before = shop.application.catalogue.ids()
    shop.host.pictures["/other-site"] = b"<!doctype html><link rel=icon href='data:,'><title>Another site</title>"
    page = visit("/admin")
    page.goto(shop.host.url("/other-site").replace("localhost", "127.0.0.1"))
    with page.expect_console_message(), page.expect_response("**/v1/imports?*") as refused:
        page.evaluate(
            """(url) => {
                const body = new FormData();
                body.append("file", new File(["product_id\\nforged"], "forged.csv"));
                return fetch(url, { method: "POST", mode: "no-cors", body });
            }""",
            f"{shop.url}/v1/imports?mode=sync&force=true",
        )
    assert refused.value.status == 403
    assert shop.application.catalogue.ids() == before
    _forgive(faults, 403)


def test_no_script_is_needed_to_look(visit: Callable[..., Page]) -> None:
    """Without JavaScript everything is shown, and nothing offered that would not work."""
    page = visit("/admin", java_script_enabled=False)
    page.get_by_role("searchbox").fill("blue two")
    page.get_by_role("button", name="Find").click()
    _rows(page).first.get_by_role("link").click()
    expect(_heading(page)).to_contain_text("blue two")
    expect(page.locator(".pictures li")).to_have_count(2)
    expect(page.get_by_role("button")).to_have_count(0)
    page.get_by_role("link", name="Spaces").click()
    expect(page.locator("tbody tr").first).to_be_visible()


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_everyone_can_use_them(
    visit: Callable[..., Page], shop: Kept, size: tuple[int, int], scheme: str, faults: list[str]
) -> None:
    """No page breaks a rule of accessibility or is wider than the window."""
    (image,) = shop.put("unreadable", picture("pink"))
    shop.file_of(image).write_bytes(b"no picture")
    shop.application.indexer.run_once()
    job = shop.application.jobs.page(limit=1)[0]
    page = visit("/admin", size=size, color_scheme=scheme, reduced_motion="reduce")
    addresses = [
        "/admin",
        "/admin/imports",
        "/admin/failures",
        "/admin/duplicates",
        "/admin/spaces",
    ]
    addresses += ["/admin/placeholders", "/admin/health", "/admin/products/unreadable", "/admin/products/none"]
    addresses += [f"/admin/imports/{each.job_id}" for each in job]
    for address in addresses:
        page.goto(address)
        check(page, address)
    page.goto("/admin/products/unreadable")
    page.get_by_role("button", name="Delete", exact=True).click()
    check(page, "a question")
    faults.clear()  # its thumbnail, and the product that is not there


def _send(page: Page, name: str, lines: list[str]) -> None:
    """Chooses a file and sends it."""
    text = "".join(f"{line}\n" for line in lines)
    file = FilePayload(name=name, mimeType="application/octet-stream", buffer=text.encode())
    page.get_by_label("A CSV or JSON Lines file").set_input_files(file)
    page.get_by_role("button", name="Import", exact=True).click()


def _activate(page: Page, key: str) -> None:
    page.get_by_role("button", name=f"Activate {key}").click()
    page.locator("#yes").click()


def _forgive(faults: list[str], status: int) -> None:
    """Takes out what the browser says of refused requests."""
    assert [fault for fault in faults if not fault.startswith(f"{REFUSED} {status}")] == []
    faults.clear()


def _heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


def _badge(page: Page) -> Locator:
    return page.locator("#main .badge")


def _rows(page: Page) -> Locator:
    return page.locator(".row")


def _told(page: Page) -> Locator:
    return page.locator("#told")
