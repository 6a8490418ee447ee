"""The processes that faults happen to."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
import psutil

_REPOSITORY = Path(__file__).resolve().parents[2]
_SOURCE = os.pathsep.join(map(str, (_REPOSITORY / "src", _REPOSITORY)))  # of this checkout, whatever is installed
GOLDENS = _REPOSITORY / "tests" / "goldens"
_PATIENCE_S = 60.0
_PAUSE_S = 0.02  # of a client, between two requests
T = TypeVar("T")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def eventually(attempt: Callable[[], T | None], *, within_s: float = _PATIENCE_S, every_s: float = 0.02) -> T:
    """What the attempt gives once it is neither None nor False; AssertionError if that takes too long."""
    until = time.monotonic() + within_s
    while (result := attempt()) is None or result is False:
        assert time.monotonic() < until, f"not within {within_s} s"
        time.sleep(every_s)
    return result


def client_of(url: str) -> httpx2.Client:
    """A connection of one customer or shop."""
    return httpx2.Client(base_url=url, timeout=30, trust_env=False)


@contextmanager
def again_and_again(url: str, ask: Callable[[httpx2.Client], object], *, clients: int) -> Iterator[None]:
    """Clients, each with a connection and a thread of its own, that ask until the block ends."""
    stop = threading.Event()

    def run() -> None:
        with client_of(url) as client:
            while not stop.is_set():
                ask(client)
                stop.wait(_PAUSE_S)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def postmaster(data_dir: Path) -> psutil.Process | None:
    """The embedded PostgreSQL of a data folder; None while it does not run."""
    try:
        return psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))
    except (FileNotFoundError, IndexError, psutil.NoSuchProcess):
        return None


class Process:
    """A `seesame` process on a port that it keeps over restarts."""

    def __init__(self, folder: Path, command: str, **environment: str) -> None:
        """`environment` is all that the process is told beside what this one was, such as `DATABASE_URL`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{command}-{self.port}.log"
        self._folder = folder
        self._command = [sys.executable, "-m", "tests.faults.program", command, "--port", str(self.port)]
        self._environment = {**os.environ, "PYTHONPATH": _SOURCE, **environment}
        self._client = httpx2.Client(base_url=self.url, timeout=2, trust_env=False)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        """The process, which was started."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Starts it, at once and without waiting for it; what it says goes to its log."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=self._folder, env=self._environment, stderr=log)

    def get(self, path: str) -> httpx2.Response | None:
        """The reply, or None while it does not answer."""
        try:
            return self._client.get(path)
        except httpx2.HTTPError:
            return None

    def is_ready(self) -> bool:
        """Whether it says that it is."""
        reply = self.get("/health/ready")
        return reply is not None and reply.status_code == 200

    def wait_ready(self) -> None:
        """Waits until it is ready; AssertionError with the end of its log if it ends instead."""

        def ready() -> bool:
            assert self.popen.poll() is None, self.log.read_text(encoding="utf-8")[-3000:]
            return self.is_ready()

        eventually(ready)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self.popen.send_signal(number)

    def end(self) -> None:
        """Ends it in order, with its PostgreSQL."""
        self.signal(signal.SIGTERM)
        assert self.popen.wait(_PATIENCE_S) == 0

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Ends it and forgets it."""
        self.kill()
        self._client.close()


@contextmanager
def running(folder: Path, command: str, environment: Mapping[str, str]) -> Iterator[Process]:
    """A process that is ready."""
    process = Process(folder, command, **environment)
    try:
        process.start()
        process.wait_ready()
        yield process
    finally:
        process.close()
