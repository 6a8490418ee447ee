"""A real redis-server for tests."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from redis import Redis
from redis.exceptions import RedisError

from tests.requirements import require_or_skip

T = TypeVar("T")


def eventually(attempt: Callable[[], T | None]) -> T:
    """What the attempt gives once it is neither None nor False; a pause of the cache may have to pass before."""
    until = time.monotonic() + 20
    while (result := attempt()) is None or result is False:
        assert time.monotonic() < until, "not in time"
        time.sleep(0.02)
    return result


class RedisServer:
    """A real redis-server on a port of its own, which it keeps over restarts."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._binary = shutil.which("redis-server") or require_or_skip("redis", "redis-server is not on the PATH")
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._password = options[options.index("--requirepass") + 1] if "--requirepass" in options else ""
        self.url = f"redis://:{self._password}@127.0.0.1:{self.port}"
        self.start(*options)

    def start(self, *options: str) -> None:
        port = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", f"{self._folder}/socket"]
        self.process = subprocess.Popen(
            [self._binary, *port, "--dir", str(self._folder), "--save", "", "--appendonly", "no", *options],
            stdout=subprocess.DEVNULL,
        )
        self.client = Redis(port=self.port, password=self._password or None, protocol=2)
        eventually(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisError:
            return False

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
