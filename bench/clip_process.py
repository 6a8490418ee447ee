"""The CLIP service, and the plain one that it is compared with, each in a process of its own."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import httpx2
import psutil

from bench.load import Target
from bench.shop import SEESAME, free_port, running
from bench.usage import memory_bytes

PLAIN = Path(__file__).with_name("plain_service.py")
PLAIN_PYTHON = "SEESAME_BENCH_TORCH_PYTHON"
_START_TIMEOUT_S = 180
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class ClipProcess:
    """A service that answers."""

    target: Target
    pid: int

    @property
    def url(self) -> str:
        return f"http://{self.target.host}:{self.target.port}"

    @property
    def memory_bytes(self) -> int:
        """What it has in memory; what is mapped twice, or by others too, counts once in all (Linux's PSS)."""
        return memory_bytes(self.pid)

    @property
    def resident_bytes(self) -> int:
        """What it has in memory; what is mapped twice counts twice."""
        rss: int = psutil.Process(self.pid).memory_info().rss
        return rss


@contextmanager
def clip(scratch: Path, model: Path, photo: bytes, **settings: str) -> Iterator[ClipProcess]:
    """`seesame clip` with a model folder; `settings` without their `SEESAME_`, such as `precision="int8"`."""
    port = free_port()
    others = {name: value for name, value in os.environ.items() if not name.startswith("SEESAME_")}
    ours = {"model": str(model), "port": str(port), "cache_dir": str(scratch / "cache")} | settings
    environment = others | {f"SEESAME_{name.upper()}": value for name, value in ours.items()} | {"HF_HUB_OFFLINE": "1"}
    command = [*SEESAME, "clip"]
    with _answering(command, environment, scratch, Target("127.0.0.1", port), photo) as process:
        yield process


@contextmanager
def plain(scratch: Path, python: str, photo: bytes) -> Iterator[ClipProcess]:
    """The plain service, by an interpreter that has what it needs."""
    port = free_port()
    command, target = [python, str(PLAIN), str(port)], Target("127.0.0.1", port, form=True)
    with _answering(command, os.environ, scratch, target, photo) as process:
        yield process


@contextmanager
def _answering(
    command: Sequence[str], environment: Mapping[str, str], scratch: Path, target: Target, photo: bytes
) -> Iterator[ClipProcess]:
    """The service from its first vector on."""
    path = scratch / "log"
    with path.open("wb") as log, running(command, folder=scratch, environment=environment, log=log) as process:
        service = ClipProcess(target, process.pid)
        if not _answers(process, f"{service.url}{target.path}", photo):
            end = path.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise RuntimeError(f"{' '.join(command)} gave no vector:\n{end}")
        yield service


def _answers(process: Popen[bytes], url: str, photo: bytes) -> bool:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with httpx2.Client(timeout=30, trust_env=False) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.post(url, files={"image": ("photo.jpg", photo, "image/jpeg")}).is_success:
                    return True
            except httpx2.TransportError:
                pass
            time.sleep(_POLL_S)
    return False
