"""The line of the page that says how the service is."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from seesame.application import open_application
from seesame.cli.serve import serving
from seesame.http.server import listen
from seesame.settings import Settings
from tests.acceptance.shopper import DEVICES, check, search_by_photo
from tests.conftest import Shop

_FALLBACK_ANSWERS = "; the built-in model answers"
_MODEL = Path(__file__).parents[1] / "goldens" / "immich"
_IN_WORDS = [
    ("in_process", None, "CLIP answers"),
    ("in_process", "clip_unavailable", f"CLIP is not loaded{_FALLBACK_ANSWERS}"),
    ("in_process", "clip_downloading", f"CLIP is being downloaded{_FALLBACK_ANSWERS}"),
    ("available", "clip_indexing", f"CLIP is indexing the catalogue{_FALLBACK_ANSWERS}"),
    ("available", "clip_unavailable", f"CLIP does not answer{_FALLBACK_ANSWERS}"),
    ("starting", "clip_downloading", f"CLIP is being downloaded{_FALLBACK_ANSWERS}"),
    ("starting", None, f"CLIP is loading{_FALLBACK_ANSWERS}"),
    ("unknown", "clip_unavailable", f"Looking for CLIP{_FALLBACK_ANSWERS}"),
    ("unavailable", None, f"CLIP unavailable since 1 Mar, 14:03{_FALLBACK_ANSWERS}"),
]
"""CLIP, why an answer is degraded, and what the page says of it."""


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
        page.close()  # before the server ends


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
        page.close()
    assert [fault for fault in faults if "net::ERR_" not in fault] == []
    faults.clear()


def test_state_in_words(visit: Callable[..., Page]) -> None:
    """Each state of CLIP has its words; a service that is gone counts before what would answer if asked."""
    page = visit(timezone_id="UTC")
    health: dict[str, Any] = {}
    _answer_health(page, health)
    for clip, reason, words in _IN_WORDS:
        health.update(_health(clip, reason))
        _hide(page, False)
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
    search_by_photo(page, shop.photo)
    expect(_state(page)).to_contain_text("CLIP unavailable")


@pytest.mark.parametrize("device", DEVICES)
def test_everyone_can_read_the_state(visit: Callable[..., Page], device: dict[str, Any]) -> None:
    """No state breaks a rule of accessibility, and one that stops the page is in sight."""
    page = visit(**device, reduced_motion="reduce")
    health: dict[str, Any] = {}
    _answer_health(page, health)
    for clip, database, words in [
        ("available", "ok", "CLIP answers"),
        ("unavailable", "ok", "CLIP unavailable"),
        ("unavailable", "down", "The database cannot be reached"),
    ]:
        health.update(_health(clip, None, database=database))
        _hide(page, False)
        expect(_state(page)).to_contain_text(words)
        check(page, words, within="footer")
    expect(_state(page)).to_be_in_viewport()


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


def _state(page: Page) -> Locator:
    return page.locator("#state")
