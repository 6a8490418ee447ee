"""A browser, and what tests of the page do in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    ViewportSize,
    sync_playwright,
)

from tests.acceptance.shopper import DESKTOP, settle
from tests.conftest import Shop
from tests.requirements import require_or_skip

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of this machine. It ends with the module, as its event loop must not meet other tests."""
    names = (os.environ.get("SEESAME_TEST_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    if path is None:
        require_or_skip("chromium", "Chromium is neither on PATH nor named by SEESAME_TEST_CHROMIUM.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def faults() -> list[str]:
    """What the browser complained about. A test that provokes complaints takes them out."""
    return []


@pytest.fixture
def visit(browser: Browser, shop: Shop, faults: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens the page of the shop; in the end the browser must not have complained, about the policy
    either, nor asked anybody else for anything."""
    contexts: list[BrowserContext] = []
    foreign: list[str] = []

    def refuse(dialog: Dialog) -> None:
        faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def complained(message: ConsoleMessage) -> None:
        if message.type == "error":
            faults.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "blob:")):
            foreign.append(request.url)

    def opened(path: str = "/", *, size: tuple[int, int] = DESKTOP, **options: Any) -> Page:
        viewport = ViewportSize(width=size[0], height=size[1])
        context = browser.new_context(base_url=shop.url, viewport=viewport, locale="en-GB", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", complained)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", refuse)
        page.on("request", asked)
        page.goto(path)
        if options.get("java_script_enabled", True):
            settle(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
    assert foreign == []


@pytest.fixture
def page(visit: Callable[..., Page]) -> Page:
    """The page as it opens on a desktop."""
    return visit()
