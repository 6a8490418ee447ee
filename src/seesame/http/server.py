"""The HTTP server of a process: it listens, serves in a thread of its own, and ends without losing what it accepted."""

import asyncio
import logging
import math
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seesame.errors import SettingsError
from seesame.http.probes import HEALTH
from seesame.http.protocol import ClientLimits, limited

_log = logging.getLogger(__name__)

DRAIN_S = 15
_CLOSE_S = 2  # for connections, after the last request
_LIMITS = ClientLimits()
_OPEN_FILES = 65_536
_END_S = 19.5  # from a signal to the end of the process, whatever hangs; 20 are promised


class Server:
    """An ASGI application on a listener, in a thread of its own.

    It ends in this order: requests get `scope["state"]["draining"]`, on which `RequestMiddleware` refuses new work;
    `on_drain` is called; requests that were in flight are waited for, at most `drain_s`; the listener and all
    connections are closed.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        drain_s: float = DRAIN_S,
        on_drain: Callable[[], None] | None = None,
        limits: ClientLimits = _LIMITS,
    ) -> None:
        host, port = listener.getsockname()[:2]
        self._url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._app = app
        self._listener = listener
        self._drain_s = drain_s
        self._on_drain = on_drain
        self._draining = False
        self._in_flight = 0
        self._signals = 0
        self._hangup = False
        self._failure: str | None = None
        config = uvicorn.Config(
            self._counted,
            http=limited(limits),
            ws="none",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # by default it believes whoever speaks from this machine
            timeout_keep_alive=math.ceil(limits.idle_s),
            timeout_graceful_shutdown=_CLOSE_S,
        )
        self._server = _Uvicorn(config)
        # A daemon: a request that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._url

    def start(self) -> None:
        """Begins to answer; connections that come before are kept by the kernel."""
        self._thread.start()

    def wait(self, on_hangup: Callable[[], None] | None = None) -> None:
        """Waits for SIGINT or SIGTERM, then ends as `stop` does; a second signal ends it at once.

        From the first signal on the process has 20 s; what hangs then is left behind. `on_hangup` is called at SIGHUP,
        unless the process logs to a terminal, whose end the signal tells then.

        Raises:
            SystemExit: with code 1, if a part of the process died.
        """
        _allow_many_connections()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        if on_hangup is not None and hasattr(signal, "SIGHUP") and not sys.stderr.isatty():
            signal.signal(signal.SIGHUP, self._hung_up)
        while self._thread.is_alive() and not self._signals:
            self._thread.join(0.2)
            if self._hangup and on_hangup is not None:
                self._hangup = False
                on_hangup()
        if self._signals:
            watchdog = threading.Timer(_END_S, _end)
            watchdog.daemon = True
            watchdog.start()
        self.stop()
        if self._failure is not None:
            _log.critical("Stopped: %s died", self._failure)
            raise SystemExit(1)

    def fail(self, part: str) -> None:
        """Ends the process loudly because one of its threads died."""
        self._failure = part
        self._server.should_exit = True

    def stop(self) -> None:
        """Finishes what was accepted, refuses what comes meanwhile, and ends."""
        if not self._draining:
            self._draining = True
            if self._on_drain is not None:
                self._on_drain()
        until = time.monotonic() + self._drain_s
        while self._in_flight and self._thread.is_alive() and self._signals < 2 and time.monotonic() < until:
            self._thread.join(0.02)
        self._server.should_exit = True
        self._thread.join(_CLOSE_S + 1)
        if self._thread.is_alive():
            _log.error("Requests hang; the process ends without them")

    def _signalled(self, *_: object) -> None:
        self._signals += 1  # not an Event, whose lock the interrupted thread may hold
        self._server.force_exit = self._signals > 1

    def _hung_up(self, *_: object) -> None:
        self._hangup = True

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except BaseException:
            _log.exception("The HTTP server died")
            self._failure = "the HTTP server"
            raise

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def reply(message: Message) -> None:
            if self._draining and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        counts = scope["path"] not in HEALTH
        self._in_flight += counts
        scope["state"]["draining"] = self._draining  # read after counting, and `stop` does both in the other order
        if scope["state"]["draining"]:  # what comes now is refused; to wait for it would let clients delay the end
            self._in_flight -= counts
            counts = False
        try:
            await self._app(scope, receive, reply)
        finally:
            self._in_flight -= counts


class _Uvicorn(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends; connections that are still there by then are cut."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # in which they close their sockets


def _end() -> None:
    _log.critical("Ended with work unfinished: it hung")
    os._exit(1)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, for one `Server`.

    Raises:
        SettingsError: the port is taken, or there is no such host.
    """
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


def _allow_many_connections() -> None:
    """As many as the administrator allows; the 1,024 that systemd begins with are filled by idle ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS has a limit below the one it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
