"""`seesame up`: everything in one process."""

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
import uvicorn

from seesame.api.app import create_app
from seesame.application import Application, open_application
from seesame.errors import ModelInvalid, ModelNotFound, SettingsError
from seesame.logs import configure_logging
from seesame.settings import Settings

_log = logging.getLogger(__name__)

_INDEXER_S = 4
_DRAIN_S = 15  # a stalled request must not keep the process from ending within 20 s


def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port; 0 takes any free one.", show_default="8000")
    ] = None,
) -> None:
    """Start everything on this machine: PostgreSQL, the API, the web page and the indexer."""
    settings = Settings.read()
    settings = settings.model_copy(
        update={name: value for name, value in {"host": host, "port": port}.items() if value is not None}
    )
    configure_logging(settings.log_level, settings.log_format)
    with open_application(settings) as application, serving(application) as server:
        server.wait()


class Server:
    """The API in a thread of its own."""

    def __init__(self, server: uvicorn.Server, listener: socket.socket) -> None:
        self._server = server
        self._listener = listener
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="api")

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self) -> None:
        """Begins to answer; connections that come before are kept by the kernel."""
        self._thread.start()

    def wait(self) -> None:
        """Waits for SIGINT or SIGTERM. Raises SystemExit with code 1 if a part of the process died."""
        asked = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: asked.set())
        while self._thread.is_alive() and not asked.is_set():
            self._thread.join(0.2)
        if self._failure is not None:
            _log.critical("Stopped: %s died", self._failure)
            raise SystemExit(1)

    def fail(self, part: str) -> None:
        """Ends the process loudly because one of its threads died."""
        self._failure = part
        self._server.should_exit = True

    def stop(self) -> None:
        """Finishes what was accepted and ends."""
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except BaseException:
            _log.exception("The API died")
            self._failure = "the API"
            raise


@contextmanager
def serving(application: Application, *, fetch_model: bool = True) -> Iterator[Server]:
    """The API, the indexer and, if asked for, the download of the model, side by side until the block ends."""
    settings = application.settings
    listener = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        create_app(application),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_DRAIN_S,
        timeout_keep_alive=15,
        server_header=False,
    )
    server = Server(uvicorn.Server(config), listener)
    stop = threading.Event()
    indexer = _task("the indexer", application.indexer.run_forever, server.fail)
    if fetch_model:
        _task("the model loader", lambda: _fetch_model(application, stop), server.fail)
    server.start()
    _log.info("✅ Seesame is up: %s", server.url)
    try:
        yield server
    finally:
        server.stop()
        stop.set()
        application.indexer.stop()
        indexer.join(_INDEXER_S)


def _fetch_model(application: Application, stop: threading.Event) -> None:
    try:
        application.fetch_model(stop)
    except (ModelNotFound, ModelInvalid) as error:
        _log.error("⚠️ %s The fallback model answers until SEESAME_MODEL names another.", error)


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


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named: asyncio turns Nagle's algorithm off only then, and each answer would wait 45 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, UnicodeError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or "no such host"
        raise SettingsError(
            f"Cannot listen on {host}:{port} ({reason}). Set SEESAME_PORT or --port to a free port."
        ) from error
    return listener
