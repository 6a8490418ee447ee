"""What the fault runs share: their figures, and a shop that is indexed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench.table import Row

from seesame.application import open_application
from seesame.catalogue import Source
from seesame.db.embedded import EmbeddedPostgres
from seesame.types import Product
from tests.conftest import copied_database, picture, shop_settings
from tests.faults.processes import GOLDENS, Process, eventually, running
from tests.faults.sizes import SIZES

_ROWS: list[Row] = []
_PRODUCTS = 30


class Figures:
    """Takes down what was measured and holds it against what is promised."""

    def tell(self, what: str, measured: str) -> None:
        """Takes down a figure that nothing is promised of."""
        _ROWS.append(Row(what, measured))

    def none(self, what: str, count: int, of: str = "") -> None:
        """Takes down a count that must be zero."""
        _ROWS.append(Row(what, f"{count}{of and f' of {of}'}", "0", count == 0))
        assert count == 0, what

    def at_least(self, what: str, value: float, least: float) -> None:
        """Takes down a figure that must not be lower than `least`."""
        _ROWS.append(Row(what, f"{value:.6f}", f"≥ {least}", value >= least))
        assert value >= least, what

    def at_most(self, what: str, value: float, most: float, unit: str) -> None:
        """Takes down a figure that must not be higher than `most`, with slack in a short run."""
        _ROWS.append(Row(what, f"{value:.3g} {unit}", f"≤ {most:g} {unit}", value <= most))
        assert value <= most * SIZES.slack, what


@pytest.fixture(scope="session")
def figures() -> Figures:
    """The figures of this run, printed at its end where it is a long one."""
    return Figures()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the figures of a long run as a table."""
    if _ROWS:
        terminalreporter.section("fault runs")
        for cells in (("what", "measured", "promised", "kept?"), ("---",) * 4, *(row.cells for row in _ROWS)):
            terminalreporter.write_line(f"| {' | '.join(cells)} |")


@dataclass(frozen=True)
class Stack:
    """A shop whose pictures are indexed in both spaces, the CLIP service that did it, and how to start more."""

    folder: Path
    environment: dict[str, str]
    clip: Process
    photo: bytes

    def pace(self, seconds: float) -> None:
        """How long the service's model takes for a picture."""
        Path(self.environment["FAULTS_PACE"]).write_text(str(seconds), encoding="ascii")


@pytest.fixture(scope="session")
def stack(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Stack]:
    """A small shop with a real CLIP service of a tiny model. A test leaves the service running, and fast."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "pace").write_text("0", encoding="ascii")
    with copied_database(postgres) as dsn:
        environment = {
            "DATABASE_URL": dsn,
            "SEESAME_DATA_DIR": str(folder / "data"),
            "SEESAME_CACHE_DIR": str(cache_dir),
            "SEESAME_MODEL": str(GOLDENS / "immich"),
            "FAULTS_PACE": str(folder / "pace"),
        }
        with running(folder, "clip", environment) as clip:
            environment["PYTHON_IMAGE_SERVICE_URL"] = clip.url
            settings = shop_settings(dsn, folder, cache_dir).model_copy(update={"clip_url": clip.url})
            with open_application(settings) as application:
                assert application.use_model()
                application.catalogue.put_many([Product(f"p{number}") for number in range(_PRODUCTS)])
                images = [
                    application.catalogue.store(f"p{number}", 0, Source(f"{number}.jpg", picture("teal", spot=number)))
                    for number in range(_PRODUCTS)
                ]
                application.catalogue.publish(images)
                assert [progress.done for progress in application.indexer.run_once()] == [_PRODUCTS, _PRODUCTS]
            yield Stack(folder, environment, clip, picture("teal", spot=3))


@pytest.fixture
def api(stack: Stack) -> Iterator[Process]:
    """An API on the shop, whose answers come from CLIP."""
    stack.pace(0)
    with running(stack.folder, "api", stack.environment) as api:
        wait_for_clip(api)
        yield api


def wait_for_clip(api: Process) -> None:
    """Waits until an API says that it can ask CLIP."""
    eventually(lambda: clip_status(api) == "available")


def clip_status(api: Process) -> str | None:
    """How CLIP is, as the API's /health says; None if that does not answer."""
    reply = api.get("/health")
    return None if reply is None else str(reply.json()["clip"]["status"])
