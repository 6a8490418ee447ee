"""Processes that decode, kept ready for the threads of this one.

What a decoder does with hostile bytes - crash, loop, eat memory, run the bytes - it does in a child process that holds
no secret and may do nothing (`seesame.decoding.confinement`). It costs that picture an error and the pool a process,
which is replaced; nothing that a child says is believed further than it can be checked.
"""

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeVar

from PIL import Image, ImageFile

from seesame import images
from seesame.decoding.child import FAULTS, KINDS, PART, READY, REPLY, REQUEST, TEXT, pixmap_header, receive
from seesame.errors import DecoderUnavailable, ImageError, ImageUndecodable
from seesame.images import DEFAULT_LIMITS, Decoder, ImageInfo, ImageLimits
from seesame.models.session import default_threads

_log = logging.getLogger(__name__)

_PROGRAM: Final = """\
import sys
memory_bytes, timeout_s, *sys.path = sys.argv[1:]
from seesame.decoding.child import main
main(int(memory_bytes), float(timeout_s))"""
# `lazy_imports`: what Python 3.15 would import at first use it could not once the file system is closed to it.
_COMMAND: Final = (sys.executable, "-I", "-S", "-X", "lazy_imports=none", "-c", _PROGRAM)

# Memory comes in pages of 2 MB where the kernel has such: a photo of 12 megapixels takes 12,000 small ones.
_ENVIRONMENT: Final = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

_START_S: Final = 30.0  # that a child may take to start, on a machine that does a lot else
_RETRY_S: Final = 1.0  # between attempts to start one
_WAIT_S: Final = 30.0  # for a child that is free
_PICTURES: Final = 1_000  # that a child decodes before another takes its place: what leaks goes with it

_BASE_BYTES: Final = 1 << 29  # of address space: the interpreter, libraries, and what is set aside for four threads
_PIXEL_BYTES: Final = 24  # of a picture while it is decoded; WebP with alpha takes 20, AVIF 15, the others 4 to 12

T = TypeVar("T")
Fate = Literal["decoded", "died", "timed_out"]


@dataclass(frozen=True, slots=True)
class DecoderCounts:
    """How the pool has done. `died` and `timed_out` are pictures that cost a process; `busy` is of this moment."""

    decoded: int = 0
    died: int = 0
    timed_out: int = 0
    busy: int = 0


class DecoderPool:
    """Decodes as `seesame.images` does, in child processes. Safe to use from several threads; close it when done.

    A child is started ahead, and others while pictures wait, `processes` at most.
    """

    def __init__(
        self, *, processes: int | None = None, timeout_s: float = 5.0, memory_bytes: int | None = None
    ) -> None:
        """`processes`: None, one for each core.

        `timeout_s` is for one picture, from its first byte sent to its last pixel received. `memory_bytes` is the
        address space of a child, by default what pictures within the default limits need.
        """
        self._processes = processes or default_threads()
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes or memory_for(DEFAULT_LIMITS)
        self._changed = threading.Condition()
        self._children: set[_Child] = set()
        self._idle: list[_Child] = []
        self._waiting = 0
        self._closed = False
        self._works = True
        self._fates: dict[Fate, int] = {"decoded": 0, "died": 0, "timed_out": 0}
        # One thread starts all children and lives as long as the pool: Linux ends a child with the thread it is of.
        self._keeper = threading.Thread(target=self._keep, name="decoders", daemon=True)

    def start(self) -> Self:
        """Starts the first child, in the background."""
        self._keeper.start()
        return self

    def close(self) -> None:
        """Ends the children at once, whatever they are at."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for child in self._children:
                child.kill()
        if self._keeper.ident is not None:
            self._keeper.join()
        for child in self._children.copy():
            child.close()

    @property
    def counts(self) -> DecoderCounts:
        """How it has done."""
        with self._changed:
            return DecoderCounts(**self._fates, busy=len(self._children) - len(self._idle))

    @property
    def works(self) -> bool:
        """Whether a child could be started the last time."""
        return self._works

    def inspect(self, data: bytes, *, limits: ImageLimits = DEFAULT_LIMITS) -> ImageInfo:
        """As `images.inspect`; only what a decoder would have to open for that goes to a child.

        Raises what `decode` does.
        """
        if not images.needs_decoder(data):
            return images.inspect(data, limits=limits)
        return self._asked(lambda child, until: child.inspect(data, limits, until))

    def decode(
        self,
        data: bytes,
        *,
        limits: ImageLimits = DEFAULT_LIMITS,
        shortest_side: int | None = None,
        max_side: int | None = None,
    ) -> Image.Image:
        """As `images.decode`; a picture that costs a child its life, or too much time, is undecodable.

        Raises:
            ImageError: as `images.decode` does.
            DecoderUnavailable: no child was free in time, or the pool is closed.
        """
        sides = (shortest_side or 0, max_side or 0)
        return self._asked(lambda child, until: child.decode(data, limits, sides, until))

    def _asked(self, work: Callable[["_Child", float], T]) -> T:
        child = self._take()
        fate: Fate = "died"
        try:
            result = work(child, time.monotonic() + self._timeout_s)
            fate = "decoded"
            return result
        except ImageError:
            fate = "decoded"
            raise
        except TimeoutError as error:
            fate = "timed_out"
            raise ImageUndecodable("The picture takes too long to decode.") from error
        except (OSError, EOFError, ValueError) as error:
            if self._closed:
                raise DecoderUnavailable from error
            raise ImageUndecodable("The picture is damaged and cannot be decoded.") from error
        finally:
            self._give_back(child, fate)

    def _take(self) -> "_Child":
        until = time.monotonic() + _WAIT_S
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            try:
                while self._changed.wait_for(lambda: self._idle or self._closed, until - time.monotonic()):
                    if self._closed:
                        break
                    child = self._idle.pop()
                    if child.alive:
                        return child
                    self._children.discard(child)
                    child.close()
                    self._changed.notify_all()
                raise DecoderUnavailable
            finally:
                self._waiting -= 1

    def _give_back(self, child: "_Child", fate: Fate) -> None:
        child.pictures += 1
        usable = fate == "decoded" and child.pictures < _PICTURES
        if not usable:
            child.close()
        if fate != "decoded" and not self._closed:
            _log.warning("A picture cost its decoding process: %s", fate)
        with self._changed:
            self._fates[fate] += 1
            if usable:
                self._idle.append(child)
            else:
                self._children.discard(child)
            self._changed.notify_all()

    # The keeper

    def _keep(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._lacks_one)
                if self._closed:
                    return
            try:
                child = _Child(self._memory_bytes, self._timeout_s)
            except (OSError, EOFError) as error:
                self._works = False
                _log.error("⚠️ No process to decode pictures in can be started: %s", error or "it ends at once")
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, _RETRY_S)
                continue
            with self._changed:
                self._works = True
                self._children.add(child)
                self._idle.append(child)
                self._changed.notify_all()

    @property
    def _lacks_one(self) -> bool:
        if len(self._children) >= self._processes:
            return False
        return not self._children or self._waiting > len(self._idle)


@contextmanager
def open_decoder(limits: ImageLimits, *, processes: int | None, timeout_s: float) -> Iterator[Decoder]:
    """What a server decodes with: a pool, or this process itself where `processes` is 0."""
    if processes == 0:
        yield images
        return
    pool = DecoderPool(processes=processes, timeout_s=timeout_s, memory_bytes=memory_for(limits))
    with closing(pool.start()):
        yield pool


def memory_for(limits: ImageLimits) -> int:
    """The address space that a child needs for the largest picture within the limits, in bytes."""
    return _BASE_BYTES + limits.max_bytes + _PIXEL_BYTES * limits.max_pixels


class _Child:
    """One process, asked by one thread at a time.

    Raises TimeoutError, and EOFError, OSError or ValueError where it is not to be used any more.
    """

    def __init__(self, memory_bytes: int, timeout_s: float) -> None:
        self.pictures = 0
        self._channel, theirs = socket.socketpair()
        command = [*_COMMAND, str(memory_bytes), str(timeout_s), *sys.path]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=_ENVIRONMENT
                )
        except BaseException:
            self._channel.close()
            raise
        try:
            if receive(self._channel, len(READY), until=time.monotonic() + _START_S) != READY:
                raise EOFError
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends it, whatever it is at; whoever asked hears of it."""
        self._process.kill()

    def close(self) -> None:
        """Ends it and gives back what belongs to it."""
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def inspect(self, data: bytes, limits: ImageLimits, until: float) -> ImageInfo:
        """What the header says."""
        width, height, kind = self._ask(data, limits, until, header_alone=True)
        if kind >= len(KINDS):
            raise ValueError("The child names no format.")
        return ImageInfo(KINDS[kind], width, height)

    def decode(self, data: bytes, limits: ImageLimits, sides: tuple[int, int], until: float) -> Image.Image:
        """The picture."""
        width, height, _ = self._ask(data, limits, until, sides=sides)
        header = pixmap_header(width, height)
        if receive(self._channel, len(header), until=until) != header:
            raise ValueError("The child sends something else than its pixels.")
        if width * height > (Image.MAX_IMAGE_PIXELS or width * height):  # a bomb to Pillow's parser; within our limits
            return Image.frombytes("RGB", (width, height), receive(self._channel, 3 * width * height, until=until))
        parser = ImageFile.Parser()
        parser.feed(header)  # so that whatever follows is taken for pixels; they are unpacked as they come
        missing = 3 * width * height
        while missing:
            self._channel.settimeout(max(1e-3, until - time.monotonic()))
            pixels = self._channel.recv(min(2 * PART, missing))
            if not pixels:
                raise EOFError
            parser.feed(pixels)
            missing -= len(pixels)
        return parser.close()

    def _ask(
        self,
        data: bytes,
        limits: ImageLimits,
        until: float,
        *,
        header_alone: bool = False,
        sides: tuple[int, int] = (0, 0),
    ) -> tuple[int, int, int]:
        """Width, height and a number; the size is one that the limits allow, whatever the child says."""
        most = (limits.max_bytes, limits.max_pixels, limits.max_side)
        self._channel.settimeout(max(1e-3, until - time.monotonic()))
        self._channel.sendall(REQUEST.pack(header_alone, *most, *sides, len(data)))
        self._channel.sendall(data)
        fault, width, height, rest = REPLY.unpack(receive(self._channel, REPLY.size, until=until))
        if 0 < fault <= len(FAULTS):
            raise FAULTS[fault - 1](receive(self._channel, min(rest, TEXT), until=until).decode("ascii"))
        if fault or not 0 < width * height <= limits.max_pixels or max(width, height) > limits.max_side:
            raise ValueError("The child says what it cannot mean.")
        return width, height, rest
