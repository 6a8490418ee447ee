"""The processes: `seesame up`, which is everything in one, and `api`, `worker` and `clip`."""

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

import typer
from starlette.types import ASGIApp

from seesame.api.app import create_app
from seesame.application import Application, open_application
from seesame.cli.reloading import Reload
from seesame.clip_service.app import create_app as create_clip_app
from seesame.http.server import Server, listen
from seesame.logs import configure_logging
from seesame.settings import ApiSettings, ClipSettings, Settings, WorkerSettings
from seesame.worker import create_app as create_worker_app

_log = logging.getLogger(__name__)

_INDEXER_S = 4

Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
_PORT = "Port; 0 takes any free one."


def up(
    host: Host = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help=_PORT, show_default="8000")] = None,
) -> None:
    """Start everything on this machine: PostgreSQL, the API, the web page and the indexer."""
    settings, read = _read(Settings, host, port)
    with open_application(settings) as application, serving(application) as server:
        server.wait(_reload(application, read))


def api(
    host: Host = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help=_PORT, show_default="8000")] = None,
) -> None:
    """Start the API and the web page alone: the database, the CLIP service and the worker run elsewhere.

    Needs DATABASE_URL. It starts and serves whether or not the CLIP service answers.
    """
    settings, read = _read(ApiSettings, host, port)
    with open_application(settings) as application, serving(application, index=False) as server:
        server.wait(_reload(application, read))


def worker(
    host: Host = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port for health and metrics; 0 takes any free one.",
                                 show_default="8002")
    ] = None,
) -> None:  # fmt: skip
    """Start a worker: it computes the vectors that images lack, now and as they arrive. Several may run at once.

    Needs DATABASE_URL.
    """
    settings, read = _read(WorkerSettings, host, port)
    with (
        open_application(settings) as application,
        serving(application, app=create_worker_app(application)) as server,
    ):
        server.wait(_reload(application, read))


def clip(
    host: Host = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help=_PORT, show_default="8001")] = None,
) -> None:
    """Start the CLIP service, which turns pictures and words into vectors. Downloads its model on the first start."""
    settings, read = _read(ClipSettings, host, port)
    app = create_clip_app(settings)
    server = Server(app, listen(settings.host, settings.port), on_drain=app.state.engine.drain)
    server.start()
    _log.info("✅ Python CLIP service is up: %s", server.url)
    try:
        server.wait(Reload(settings, read))
    finally:
        server.stop()


P = TypeVar("P", Settings, ApiSettings, WorkerSettings, ClipSettings)


def _read(kind: type[P], host: str | None, port: int | None) -> tuple[P, Callable[[], P]]:
    """The settings of a process, with what its command line says in their place; and what reads them again.

    Sets up its logging.
    """
    given = {name: value for name, value in {"host": host, "port": port}.items() if value is not None}

    def read() -> P:
        return kind.read().model_copy(update=given)

    settings = read()
    configure_logging(settings.log_level, settings.log_format)
    return settings, read


def _reload(application: Application, read: Callable[[], Settings]) -> Reload[Settings]:
    return Reload(application.settings, read, taken_up=application.TAKEN_UP, take_up=application.take_up)


@contextmanager
def serving(
    application: Application, *, app: ASGIApp | None = None, index: bool = True, fetch_model: bool = True
) -> Iterator[Server]:
    """The API (or `app`), the indexer and the link to CLIP, side by side until the block ends.

    `fetch_model` False leaves the models as they are: no download, no look at the CLIP services.
    """
    settings = application.settings
    stop = threading.Event()

    def drain() -> None:  # at once, so that the indexer's last batch and the last requests end side by side
        stop.set()
        application.indexer.stop()
        application.job_runner.stop()

    server = Server(app or create_app(application), listen(settings.host, settings.port), on_drain=drain)
    tasks = []
    if app is None:
        _task("reading the vectors", application.search.warm, server.fail)
        tasks.append(_task("the imports", application.job_runner.run_forever, server.fail))
    if index:
        tasks.append(_task("the indexer", application.indexer.run_forever, server.fail))
        look = functools.partial(application.duplicates.keep, stop, every_s=settings.duplicates_every_s)
        tasks.append(_task("the search for duplicates", look, server.fail))
        if settings.calibrate:
            _task("the calibration", functools.partial(application.calibrator.run_forever, stop), server.fail)
    if fetch_model:
        for keep in application.keepers():
            _task("the link to CLIP", functools.partial(keep, stop), server.fail)
    _task("the health checks", functools.partial(application.health.run_forever, stop), server.fail)
    server.start()
    _log.info("✅ Seesame is up: %s", server.url)
    try:
        yield server
    finally:
        server.stop()
        for task in tasks:
            task.join(_INDEXER_S)


def _task(name: str, work: Callable[[], None], on_death: Callable[[str], None]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except BaseException:  # noqa: BLE001 - whatever ended it, the process must hear of it
            _log.exception("%s died", name.capitalize())
            on_death(name)

    # A daemon: a download in progress must not keep the process from ending; the next one takes it up.
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
