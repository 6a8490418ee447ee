"""The process that decodes. `seesame.decoding.pool` runs it, in an interpreter that imports little else.

Its standard input is a socket. A request is `REQUEST` and the file's bytes. The reply is `REPLY` and then the pixels
(a portable pixmap) or a fault's text.
"""

import ctypes
import math
import os
import resource
import signal
import socket
import struct
import time
from typing import Final

from PIL import AvifImagePlugin, Image, ImageFile

from seesame import images
from seesame.decoding.confinement import confine
from seesame.errors import ImageError, ImageTooLarge, ImageUndecodable, UnsupportedFormat
from seesame.image_formats import FORMATS
from seesame.images import ImageLimits

# Whether only the header; the limits of bytes, pixels and a side; shortest and longest side wanted, or 0; length.
REQUEST: Final = struct.Struct("<?6Q")
REPLY: Final = struct.Struct("<BIII")  # 0 or the fault's number; width; height; the format's number or a text's length
READY: Final = b"!"
KINDS: Final = tuple(FORMATS)
FAULTS: Final = (ImageUndecodable, ImageTooLarge, UnsupportedFormat)
TEXT: Final = 200  # bytes of a fault's text, at most
PART: Final = 1 << 17  # bytes of pixels that are packed and sent at once, and unpacked while the next are packed

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT: Final = 1 << 23  # bytes; a picture of 1,600 by 1,200 pixels takes less
_THREADS: Final = 4  # that a decoder may use; it is as many for HEIC


def pixmap_header(width: int, height: int) -> bytes:
    """What a portable pixmap says before its pixels, three bytes each."""
    return b"P6\n%d %d\n255\n" % (width, height)


def receive(channel: socket.socket, size: int, *, until: float | None = None) -> bytearray:
    """So many bytes, by a moment of the monotonic clock. Raises EOFError where the other end is gone, TimeoutError."""
    content = bytearray(size)
    missing = memoryview(content)
    while missing:
        if until is not None:
            channel.settimeout(max(1e-3, until - time.monotonic()))
        count = channel.recv_into(missing)
        if not count:
            raise EOFError
        missing = missing[count:]
    return content


def main(memory_bytes: int, timeout_s: float) -> None:
    """Answers until the other end is gone. A picture may take so many seconds of the processor."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the whole group: what was accepted is still decoded
    os.dup2(1, 2)  # from here on it has nothing to say in the log
    _give_back_memory()
    AvifImagePlugin.DEFAULT_MAX_THREADS = min(_THREADS, os.cpu_count() or 1)  # each takes address space
    ImageFile.MAXBLOCK = PART
    Image.preinit()  # what `save` would import, which it could not any more
    confine(memory_bytes=memory_bytes)
    with socket.socket(fileno=0) as channel:
        channel.sendall(READY)
        while True:
            _limit_time(timeout_s)
            try:
                _answer(channel)
            except EOFError:
                return


def _give_back_memory() -> None:
    """Lets the C library return what a large picture took when it is done, not keep it for the next."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's alone
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT)
        mallopt(_M_TRIM_THRESHOLD, 4 * _KEPT)


def _limit_time(timeout_s: float) -> None:
    """Of the processor, for the next picture. The other end measures real time; this is for when it was killed."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + _THREADS * timeout_s), most))


def _answer(channel: socket.socket) -> None:
    header_alone, *most, shortest_side, max_side, length = REQUEST.unpack(receive(channel, REQUEST.size))
    data = bytes(receive(channel, length))
    limits = ImageLimits(*most)
    try:
        if header_alone:
            info = images.inspect(data, limits=limits)
            channel.sendall(REPLY.pack(0, info.width, info.height, KINDS.index(info.format)))
            return
        picture = images.decode(data, limits=limits, shortest_side=shortest_side or None, max_side=max_side or None)
    except ImageError as error:
        text = str(error).encode("ascii", "replace")[:TEXT]
        channel.sendall(REPLY.pack(1 + FAULTS.index(type(error)), 0, 0, len(text)) + text)
        return
    width, height = picture.size
    channel.sendall(REPLY.pack(0, width, height, 0))
    with channel.makefile("wb") as stream:
        picture.save(stream, "PPM")
