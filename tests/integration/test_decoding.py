"""Decoding in child processes: the same pictures as in this one, and nothing that a picture does gets out of them."""

import ctypes
import errno
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import psutil
import pytest
from PIL import Image

from seesame import images
from seesame.application import open_application
from seesame.decoding import pool as module
from seesame.decoding.pool import DecoderCounts, DecoderPool
from seesame.errors import DecoderUnavailable, ImageError, ImageTooLarge, ImageUndecodable
from seesame.images import Decoder, ImageInfo, ImageLimits
from seesame.settings import Settings
from tests.conftest import served
from tests.hostile import PICTURES, photo, saved, slow_to_decode
from tests.models import until

_LIGHT = [name for name in PICTURES if name not in ("49.9 MP", "film", "20 MB after the end")]
_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
Outcome = tuple[type[ImageError], str] | tuple[ImageInfo, tuple[int, int], bytes]


def children_of(pool: DecoderPool) -> list[psutil.Process]:
    """Its processes."""
    return [psutil.Process(child._process.pid) for child in pool._children]


@pytest.fixture(scope="module")
def shared() -> Iterator[DecoderPool]:
    """A pool of one child for tests that leave it whole."""
    with closing(DecoderPool(processes=1, timeout_s=20).start()) as pool:
        yield pool


@pytest.fixture(scope="module")
def slow() -> bytes:
    """Takes about a second."""
    return slow_to_decode()


def outcome(decoder: Decoder, data: bytes, shortest_side: int | None, max_side: int | None) -> Outcome:
    """All that a caller can see."""
    try:
        picture = decoder.decode(data, shortest_side=shortest_side, max_side=max_side)
        return decoder.inspect(data), picture.size, picture.tobytes()
    except ImageError as error:
        return type(error), str(error)


@pytest.mark.parametrize("sides", [(None, None), (20, None), (None, 50)])
def test_pictures_and_faults_are_those_of_this_process(
    shared: DecoderPool, sides: tuple[int | None, int | None]
) -> None:
    """To the pixel, and to the word."""
    for name in _LIGHT:
        data = PICTURES[name][1]()
        assert outcome(shared, data, *sides) == outcome(images, data, *sides), name
    assert shared.counts.died == 0


def test_a_large_picture_comes_whole(shared: DecoderPool) -> None:
    """In many parts, the last of them smaller."""
    data = saved("PNG", photo((1_501, 1_003)), compress_level=1)
    assert shared.decode(data).tobytes() == images.decode(data).tobytes()


def test_what_pillow_takes_for_a_bomb_comes_where_the_limits_allow_it(
    shared: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own border is below what a shop may set."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    assert outcome(shared, saved("PNG"), None, None) == outcome(images, saved("PNG"), None, None)


def test_its_limits_are_those_of_the_call(shared: DecoderPool) -> None:
    """Not those of the pool."""
    with pytest.raises(ImageTooLarge, match="160x120"):
        shared.decode(saved("AVIF"), limits=ImageLimits(max_pixels=100))
    with pytest.raises(ImageTooLarge, match="160x120"):
        shared.inspect(saved("HEIC"), limits=ImageLimits(max_side=100))


def _landlock() -> int:
    """What this kernel has of it; less than 1: nothing."""
    return int(ctypes.CDLL(None).syscall(444, None, 0, 1)) if sys.platform == "linux" else 0


@_linux
def test_a_child_has_nothing_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable but the one for its allocator, and no file but its socket."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@h/d")
    with (tmp_path / "held").open("wb") as held, closing(DecoderPool(processes=1).start()) as pool:
        os.set_inheritable(held.fileno(), True)
        pool.decode(saved("PNG"))
        (child,) = children_of(pool)
        proc = Path("/proc", str(child.pid))
        assert (proc / "environ").read_bytes() == b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1\0"
        opened = {file.name: str(file.readlink()).partition(":")[0] for file in (proc / "fd").iterdir()}
        assert opened == {"0": "socket", "1": "/dev/null", "2": "/dev/null"}


_CONFINED = """
import os, resource, socket, sys, threading
from seesame.decoding import confinement
"".encode("idna")  # imported now, not when it cannot be
folder = sys.argv[1]
listening = socket.socket(socket.AF_UNIX)
listening.bind(f"{folder}/socket")
listening.listen()
ours = socket.create_server(("127.0.0.1", 0))
port = ours.getsockname()[1]
if sys.argv[2:] == ["descriptors"]:
    confinement.resource.RLIMIT_NOFILE = resource.RLIMIT_CORE  # what is refused now is refused by Landlock
confinement.confine(memory_bytes=1 << 30)
ours.close(), os.close(0)  # two numbers that new ones could have
def attempt(name, work):
    try:
        work()
    except (OSError, MemoryError, ValueError) as error:
        print(name, type(error).__name__, getattr(error, "errno", None), flush=True)
    else:
        print(name, "done", 0, flush=True)
attempt("file", lambda: open("/etc/hostname"))
attempt("environment", lambda: open(f"/proc/{os.getppid()}/environ"))
attempt("connection", lambda: socket.create_connection(("127.0.0.1", port)))
attempt("descriptor", os.pipe)
attempt("datagram", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
attempt("local", lambda: socket.socket(socket.AF_UNIX).connect(f"{folder}/socket"))
attempt("signal", lambda: os.kill(os.getppid(), 0))
def process():
    if os.fork() == 0:
        os._exit(0)
attempt("process", process)
attempt("program", lambda: os.execv("/bin/true", ["true"]))
attempt("thread", lambda: threading.Thread(target=int).start())
attempt("limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
attempt("memory", lambda: bytearray(1 << 30))
"""


def _attempts(folder: Path, *without: str) -> dict[str, tuple[str, int | None]]:
    """What came of each, by the error and its number."""
    command = [sys.executable, "-c", _CONFINED, str(folder), *without]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: (error, None if number == "None" else int(number)) for name, error, number in map(str.split, lines)}


@_linux
def test_a_confined_process_reaches_nothing(tmp_path: Path) -> None:
    """No file, no connection of any kind, no more memory, whatever the kernel has of Landlock; and that is for good."""
    told = _attempts(tmp_path)
    refused = ("file", "environment", "connection", "descriptor", "datagram", "local")
    assert {name: told[name] for name in refused} == dict.fromkeys(refused, ("OSError", errno.EMFILE))
    if platform.machine() in ("x86_64", "aarch64"):
        assert told["process"] == told["program"] == ("PermissionError", errno.EPERM)
    assert told["thread"] == ("done", 0)
    assert told["limit"][0] == "ValueError" or told["limit"][1] == errno.EPERM
    assert told["memory"][0] == "MemoryError"


@pytest.mark.skipif(_landlock() < 6, reason="needs Linux 6.12 or newer, with Landlock")
def test_landlock_refuses_it_too(tmp_path: Path) -> None:
    """Where a descriptor could be had."""
    told = _attempts(tmp_path, "descriptors")
    assert told["descriptor"] == ("done", 0)
    refused = ("file", "environment", "connection", "signal")
    assert {name: told[name][0] for name in refused} == dict.fromkeys(refused, "PermissionError")


def test_a_killed_child_costs_the_one_picture(slow: bytes) -> None:
    """Another that is decoded beside it is not disturbed, and the next finds a new child."""
    with closing(DecoderPool(processes=2, timeout_s=20).start()) as pool, ThreadPoolExecutor() as threads:
        beside = threads.submit(pool.decode, slow)
        until(lambda: pool.counts.busy == 1)
        (spared,) = children_of(pool)
        doomed = threads.submit(pool.decode, slow)
        until(lambda: pool.counts.busy == 2)
        (child,) = set(children_of(pool)) - {spared}
        child.kill()
        with pytest.raises(ImageUndecodable):
            doomed.result()
        assert beside.result().size == (4_000, 3_000)
        assert pool.decode(saved("PNG")).size == (160, 120)
        assert pool.counts == DecoderCounts(decoded=2, died=1)
        for idle in children_of(pool):
            idle.kill()
            idle.wait()
        assert pool.decode(saved("PNG")).size == (160, 120)  # that one was nobody's fault
        assert pool.counts == DecoderCounts(decoded=3, died=1)


def test_a_picture_that_takes_too_long_is_undecodable(slow: bytes) -> None:
    """And its child ends."""
    with closing(DecoderPool(processes=1, timeout_s=0.2).start()) as pool:
        with pytest.raises(ImageUndecodable, match="too long"):
            pool.decode(slow)
        assert pool.counts == DecoderCounts(timed_out=1)
        assert children_of(pool) == []


def test_a_picture_that_takes_too_much_memory_is_undecodable() -> None:
    """Within the limits for pictures, and the child lives on if its decoder minds failing allocations."""
    data = saved("PNG", Image.new("L", (6_000, 6_000), 90), compress_level=1)
    with closing(DecoderPool(processes=1, memory_bytes=200 << 20).start()) as pool:
        with pytest.raises(ImageUndecodable):
            pool.decode(data)
        assert pool.decode(saved("PNG")).size == (160, 120)
        assert pool.counts == DecoderCounts(decoded=2)


def test_a_child_gives_way_to_another_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaks in it goes with it."""
    monkeypatch.setattr(module, "_PICTURES", 2)
    with closing(DecoderPool(processes=1).start()) as pool:
        seen = []
        for _ in range(3):
            pool.decode(saved("PNG"))
            seen += [child.pid for child in children_of(pool)]
        assert pool.counts == DecoderCounts(decoded=3)
        assert len(set(seen)) == 2


def test_a_closed_pool_refuses_at_once(slow: bytes) -> None:
    """Whoever waits hears of it, and so does whoever waits for a picture."""
    with closing(DecoderPool(processes=1, timeout_s=20).start()) as pool, ThreadPoolExecutor() as threads:
        futures = [threads.submit(pool.decode, slow) for _ in range(3)]
        until(lambda: pool.counts.busy == 1)
        pool.close()
        for future in futures:
            with pytest.raises(DecoderUnavailable):
                future.result(timeout=5)
        assert children_of(pool) == []


_PARENT = """
import sys, threading, time
from seesame.decoding.pool import DecoderPool
pool = DecoderPool(processes=1, timeout_s=60).start()
data = sys.stdin.buffer.read()
threading.Thread(target=pool.decode, args=(data,), daemon=True).start()
while not pool.counts.busy:
    time.sleep(0.01)
print(*(child._process.pid for child in pool._children), flush=True)
time.sleep(60)
"""


def test_children_end_with_a_parent_that_is_killed(slow: bytes) -> None:
    """Also one that is at work."""
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(slow)
        parent.stdin.close()
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    child.wait(timeout=5)


def test_strangers_pictures_meet_no_decoder_in_a_server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that is stored, nor one that is searched by, nor a region of one."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("It was decoded here.")

    with (
        open_application(settings.model_copy(update={"decode_processes": 1})) as application,
        served(application) as client,
    ):
        monkeypatch.setattr(images, "decode", refuse)
        monkeypatch.setattr(images, "_check", refuse)
        client.put("/v1/products/a", json={}).raise_for_status()
        files, region = {"image": saved("AVIF")}, '{"x": 0, "y": 0, "width": 0.5, "height": 0.5}'
        client.post("/v1/products/a/images", files=files).raise_for_status()
        client.post("/v1/search/image", files=files).raise_for_status()
        client.post("/v1/search/image", files=files, data={"region": region}).raise_for_status()
        assert 'seesame_decoder_ends_total{reason="died"} 0.0' in client.get("/metrics").text
