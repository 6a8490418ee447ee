"""A shop in a temporary folder: its settings, the commands that fill it, and `seesame up` on it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx2

from seesame.settings import Settings

_START_TIMEOUT_S = 120
_STOP_TIMEOUT_S = 40
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Shop:
    """Data and models of one shop; no model is downloaded, so the fallback answers."""

    data_dir: Path
    cache_dir: Path

    @property
    def settings(self) -> Settings:
        """Settings for this process, whatever its environment says."""
        return Settings.model_validate(
            {"database_url": None, "data_dir": self.data_dir, "cache_dir": self.cache_dir, "port": 0}
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment for processes of the shop."""
        others = {name: value for name, value in os.environ.items() if name not in Settings.variables().values()}
        folders = {"SEESAME_DATA_DIR": str(self.data_dir), "SEESAME_CACHE_DIR": str(self.cache_dir)}
        return others | folders | {"HF_HUB_OFFLINE": "1"}

    def run(self, *arguments: str) -> None:
        """Runs a `seesame` command to its end; its output is shown only if it fails."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        run([*SEESAME, *arguments], folder=self.data_dir, environment=self.environment)

    @contextmanager
    def up(self) -> Iterator[httpx2.Client]:
        """A client of `seesame up`, which may not answer yet."""
        with self.process() as (client, _):
            yield client

    @contextmanager
    def process(self) -> Iterator[tuple[httpx2.Client, int]]:
        """A client of `seesame up`, which may not answer yet, and the number of its process."""
        port = free_port()
        command = [*SEESAME, "up", "--port", str(port)]
        with (
            running(command, folder=self.data_dir, environment=self.environment) as process,
            httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client,
        ):
            yield client, process.pid


SEESAME = (sys.executable, "-m", "seesame")


@contextmanager
def running(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: int | IO[bytes] = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until it is told to end; what it prints goes to `log`."""
    process = subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def first_answer(client: httpx2.Client, photo: bytes) -> None:
    """Asks until a search by photo is answered."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            ask(client, photo)
        except httpx2.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return


def unseen(photo: bytes) -> bytes:
    """The same photo, for which the cache has no vector: what follows a JPEG's end changes its digest alone."""
    return photo + os.urandom(8)


def ask(client: httpx2.Client, photo: bytes) -> float:
    """One search by photo with results; the milliseconds that the server says it took."""
    reply = client.post("/v1/search/image", files={"image": ("photo.jpg", photo, "image/jpeg")})
    reply.raise_for_status()
    answer = reply.json()
    if not answer["results"]:
        raise RuntimeError("The search found nothing.")
    return float(answer["took_ms"])


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run(command: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> str:
    """Runs a command to its end; its output. Raises RuntimeError with the end of it if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")
    return done.stdout
