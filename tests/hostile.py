"""Pictures that are broken, or made to do harm."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pillow_heif
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def photo(size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Coloured noise, smoothed: the data of a photo is about as dense, and no part of it is grey."""
    noise = np.random.default_rng(7).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def saved(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    if kind == "HEIC":
        pillow_heif.from_pillow(image or photo()).save(buffer, **options)
    else:
        (image or photo()).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, packed: bytes, *extra: bytes, interlace: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace))
    return SIGNATURE + header + b"".join(extra) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def bomb(size: int) -> bytes:
    """Zeros, compressed a thousandfold."""
    deflater = zlib.compressobj(9)
    return b"".join([*(deflater.compress(bytes(1 << 20)) for _ in range(size >> 20)), deflater.flush()])


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def jpeg_claiming(width: int, height: int) -> bytes:
    data = saved("JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def heif_claiming(kind: str, width: int, height: int) -> bytes:
    data = saved(kind)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def webp_claiming(width: int, height: int) -> bytes:
    data = saved("WEBP", exif=b"Exif\0\0x")
    return data[:24] + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + data[30:]


def gif_claiming(width: int, height: int) -> bytes:
    data = saved("GIF")
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def gif_frame_claiming(width: int, height: int) -> bytes:
    """Pillow would fill the whole frame while opening the file, because of how it is to be disposed of."""
    control = b"!\xf9\4\x08\0\0\0\0"
    return b"GIF89a\1\0\1\0\0\0\0" + control + b"," + struct.pack("<4H", 0, 0, width, height) + b"\0\2\1\0\0;"


CLAIMS: dict[str, Callable[[int, int], bytes]] = {
    "jpeg": jpeg_claiming,
    "png": lambda width, height: png(width, height, zlib.compress(bytes(100))),
    "webp": webp_claiming,
    "gif": gif_claiming,
    "gif frame": gif_frame_claiming,
    "avif": lambda width, height: heif_claiming("AVIF", width, height),
    "heic": lambda width, height: heif_claiming("HEIC", width, height),
}


def overlapping_metadata() -> bytes:
    """A HEIC with 60 items of metadata that are all the same 2 MB: libheif reads each as it opens the file."""
    heif = pillow_heif.from_pillow(photo())
    contents = [b"x" * 2_000_000] + [b"yy"] * 59
    heif.info["metadata"] = [{"type": "mime", "content_type": "x/y", "data": content} for content in contents]
    buffer = io.BytesIO()
    heif.save(buffer)
    data = bytearray(buffer.getvalue())
    at = data.index(b"iloc") + 12
    # For each item: its number, a reference, the base, the count of extents, and the one extent.
    items = range(at + 4, at + 4 + 61 * 18, 18)
    (large,) = [item for item in items if struct.unpack_from(">I", data, item + 10)[0] == 2_000_000]
    for item in items[2:]:
        data[item : item + 14] = data[large : large + 14]
    return bytes(data)


def endless_film() -> bytes:
    """An AVIF film that lists two million frames of a byte each: libavif would take 160 MB to open it."""
    frames = [photo((64, 64)), Image.new("RGB", (64, 64))]
    data = bytearray(saved("AVIF", frames[0], save_all=True, append_images=frames[1:], duration=50))
    struct.pack_into(">II", data, data.index(b"stsz") + 8, 1, 2_000_000)
    struct.pack_into(">IIII", data, data.index(b"stsc") + 8, 1, 1, 2_000_000, 1)
    struct.pack_into(">I", data, data.index(b"stts") + 12, 2_000_000)
    return bytes(data) + box(b"free", bytes(2_000_000))


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    data = saved("JPEG")
    extra = [struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments]
    return data[:2] + b"".join(extra) + data[2:]


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = saved("JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * count + b"\xff\xd9"
