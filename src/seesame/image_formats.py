"""How each kind of picture is read: its header by the lines below, its pixels by the one decoder for it.

A JPEG or PNG is first reduced to the parts that make its pixels, so that no decoder inflates, parses or
follows metadata: profiles, comments, EXIF, previews, animation, and whatever comes after the end marker.

These functions raise ImageUndecodable where they see what is wrong, and otherwise whatever their decoder
throws: `seesame.images`, the only caller, translates that. Decoders are called by their classes and not by
`Image.open`, which would ask others too and read the second picture that phones put behind the first.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from PIL import Image, ImageChops
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifFile, open_heif

from seesame.errors import ImageUndecodable


class Header(NamedTuple):
    """What is known of a picture before it is decoded."""

    size: tuple[int, int]  # width and height as stored, before the turn
    orientation: int = 1  # as in EXIF, 1 to 8


class Format(NamedTuple):
    """How to read one kind of picture.

    `decode` also takes the size from the header, and the shortest side wanted or None.
    """

    header: Callable[[bytes], Header]
    decode: Callable[[bytes, tuple[int, int], int | None], Image.Image]


_MAX_PARTS: Final = 20_000  # segments, chunks, blocks or boxes of a file; real ones have up to a few thousand
_MAX_SCANS: Final = 100  # of a JPEG; real ones have up to about twenty, and each costs a pass over all pixels

_BROKEN: Final = "The picture is damaged and cannot be decoded."
_CUT: Final = "The picture is incomplete: its data ends too early."
_TOO_MANY_PARTS: Final = "The picture has too many parts."


def _orientation(exif: bytes) -> int:
    """The turn that EXIF asks for, read from its first directory alone, so that no loop can be followed."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for at in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, of_type = struct.unpack_from(f"{order}HH", tiff, at)
            if tag == 0x0112:
                (value,) = struct.unpack_from(f"{order}{'I' if of_type == 4 else 'H'}", tiff, at + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:  # it ends too early: a turn is no reason to refuse the picture
        pass
    return 1


def _load(image: ImageFile, size: tuple[int, int]) -> ImageFile:
    if image.size != size:  # the decoder reads the header otherwise than it was checked
        raise ImageUndecodable(_BROKEN)
    image.load()
    return image


# JPEG

_MARKER: Final = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # neither a stuffed byte, a restart marker nor padding
_SOI, _EOI, _SOS, _APP0, _APP1, _APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_METADATA: Final = frozenset({*range(0xE0, 0xF0), 0xFE}) - {_APP0, _APP14}  # those two tell the colour space


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment, by their lengths, so that nothing inside one counts."""
    position = 2
    for _ in range(_MAX_PARTS):
        found = _MARKER.search(data, position)
        if found is None:
            raise ImageUndecodable(_CUT)
        marker, position = found[1][0], found.end()
        if marker not in {0x01, _SOI, _EOI}:
            length = int.from_bytes(data[position : position + 2])
            position += max(length, 2)
            if length < 2 and position <= len(data):  # decoders disagree on where such a segment ends
                raise ImageUndecodable(_BROKEN)
        if position > len(data):
            raise ImageUndecodable(_CUT)
        yield marker, found.start(), position
        if marker == _EOI:
            return
    raise ImageUndecodable(_TOO_MANY_PARTS)


def _jpeg_header(data: bytes) -> Header:
    size, orientation = None, 1
    for marker, start, end in _jpeg_segments(data):
        if marker in _SOF:
            height, width = struct.unpack_from(">HH", data, start + 5)
            size = (width, height)
        elif marker == _APP1 and data[start + 4 : start + 10] == b"Exif\0\0" and orientation == 1:
            orientation = _orientation(data[start + 4 : end])
        elif marker == _SOS and size is not None:
            return Header(size, orientation)
    raise ImageUndecodable(_BROKEN)


def _jpeg_decode(data: bytes, size: tuple[int, int], shortest_side: int | None) -> Image.Image:
    essence = _jpeg_essence(data)
    image = _jpeg_pixels(essence, size, shortest_side)
    corner = image.getpixel((image.width - 1, image.height - 1))
    values = corner if isinstance(corner, tuple) else (corner,)
    # Where coded data ends too early, libjpeg only warns and fills up with middle grey. So if the last pixel
    # is grey, see whether the picture changes with more data: a complete one has no use for it.
    if all(value is not None and 120 <= value <= 136 for value in values):
        padded = essence[:-2] + bytes(range(1, 255)) * 16 + b"\xff\xd9"
        longer = _jpeg_pixels(padded, size, shortest_side)
        if ImageChops.difference(image, longer).getbbox() is not None:
            raise ImageUndecodable(_CUT)
    return image


def _jpeg_essence(data: bytes) -> bytes:
    parts, scans, first_scan = [b"\xff\xd8"], 0, 0
    for marker, start, end in _jpeg_segments(data):
        if marker == _SOS:
            scans += 1
            first_scan = first_scan or start
            if scans > _MAX_SCANS:
                raise ImageUndecodable(_TOO_MANY_PARTS)
        elif marker == _EOI:
            return b"".join([*parts, data[first_scan:end]])
        elif not scans and marker not in _METADATA and marker != _SOI:
            parts.append(data[start:end])
    raise ImageUndecodable(_CUT)


def _jpeg_pixels(data: bytes, size: tuple[int, int], shortest_side: int | None) -> Image.Image:
    image = JpegImageFile(io.BytesIO(data))
    if image.size == size and shortest_side is not None:
        image.draft(None, (2 * shortest_side, 2 * shortest_side))
        size = image.size
    return _load(image, size)


# PNG


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of each chunk, from the length before to the checksum after it."""
    position = 8
    for _ in range(_MAX_PARTS):
        if position + 12 > len(data):
            raise ImageUndecodable(_CUT)
        length, kind = struct.unpack_from(">I4s", data, position)
        start, position = position, position + 12 + length
        if position > len(data):
            raise ImageUndecodable(_CUT)
        yield kind, start, position
        if kind == b"IEND":
            return
    raise ImageUndecodable(_TOO_MANY_PARTS)


def _png_header(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise ImageUndecodable(_BROKEN)
    orientation = 1
    for kind, start, end in _png_chunks(data):
        if kind == b"eXIf":
            orientation = _orientation(data[start + 8 : end - 4])
    width, height = struct.unpack_from(">II", data, 16)
    return Header((width, height), orientation)


def _png_decode(data: bytes, size: tuple[int, int], _shortest_side: int | None) -> Image.Image:
    chunks = _png_essence(data)
    image = _load(PngImageFile(io.BytesIO(b"".join([data[:8], *chunks]))), size)
    bit_depth, interlaced = data[24], data[28] != 0
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    # Where compressed data ends too early, Pillow may leave the rest black without a word.
    if interlaced or not any(last_row.tobytes()):
        _png_require_all_rows(chunks, data[24:26], image.size, interlaced=interlaced)
    if image.mode != "P" and "transparency" in image.info:
        image.info["transparency"] = _png_key(image.info["transparency"], bit_depth)
    return image


def _png_essence(data: bytes) -> list[bytes]:
    chunks = []
    for kind, start, end in _png_chunks(data):
        # A second IHDR would change the size that was checked.
        if (kind == b"IHDR") != (start == 8) or kind not in {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}:
            continue
        if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise ImageUndecodable(_BROKEN)
        chunks.append(data[start:end])
    return chunks


_PNG_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # a pixel, by colour type
_PNG_PASSES: Final = (  # of an interlaced picture: first column and row, and the steps from there
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip


def _png_require_all_rows(
    chunks: list[bytes], depth_and_type: bytes, size: tuple[int, int], *, interlaced: bool
) -> None:
    bits = depth_and_type[0] * _PNG_SAMPLES[depth_and_type[1]]
    missing = 0
    for x, y, step_x, step_y in _PNG_PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = len(range(x, size[0], step_x)), len(range(y, size[1], step_y))
        missing += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    inflater = zlib.decompressobj()
    packed = b"".join(chunk[8:-4] for chunk in chunks if chunk[4:8] == b"IDAT")
    while packed and missing > 0:
        missing -= len(inflater.decompress(packed, 1 << 20))
        packed = inflater.unconsumed_tail
    if missing > 0 and missing > len(inflater.flush()):  # what is left when all input is taken is small
        raise ImageUndecodable(_CUT)


def _png_key(key: int | tuple[int, ...], bit_depth: int) -> int | tuple[int, ...]:
    """The transparent colour, scaled to the eight bits that Pillow scales the samples to, but not the key."""
    if isinstance(key, tuple):
        return tuple(key >> 8 if bit_depth == 16 else key & 255 for key in key)
    if bit_depth == 1:  # Pillow has done it
        return key
    return key >> 8 if bit_depth == 16 else (key % (1 << bit_depth)) * 255 // ((1 << bit_depth) - 1)


# GIF

_GIF_FRAME, _GIF_EXTENSION = 0x2C, 0x21


def _gif_frame(data: bytes) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the first frame."""
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    in_extension = False
    for _ in range(_MAX_PARTS):
        lead = data[position]
        if in_extension:  # its blocks start with their length; an empty one is the last
            position += lead + 1
            in_extension = lead > 0
        elif lead == _GIF_FRAME:
            left, top, width, height = struct.unpack_from("<4H", data, position + 1)
            return left, top, left + width, top + height
        else:
            in_extension = lead == _GIF_EXTENSION
            position += 2 if in_extension else 1
    raise ImageUndecodable(_TOO_MANY_PARTS)


def _gif_header(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    _, _, right, bottom = _gif_frame(data)
    return Header((max(width, right), max(height, bottom)))


def _gif_decode(data: bytes, size: tuple[int, int], _shortest_side: int | None) -> Image.Image:
    image = _load(GifImageFile(io.BytesIO(data)), size)
    frame = _gif_frame(data)
    if frame == (0, 0, *image.size):
        return image
    page = Image.new("RGBA", image.size)  # what the frame leaves uncovered is transparent
    page.paste(image.crop(frame).convert("RGBA"), frame[:2])
    return page


# WebP


def _webp_header(data: bytes) -> Header:
    kind, orientation, position = data[12:16], 1, 12
    for _ in range(_MAX_PARTS):
        if position + 8 > len(data):
            return Header(_webp_size(kind, data), orientation)
        name, length = struct.unpack_from("<4sI", data, position)
        if name == b"EXIF":
            orientation = _orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    raise ImageUndecodable(_TOO_MANY_PARTS)


def _webp_size(kind: bytes, data: bytes) -> tuple[int, int]:
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ImageUndecodable(_BROKEN)


def _webp_decode(data: bytes, size: tuple[int, int], _shortest_side: int | None) -> Image.Image:
    return _load(WebPImageFile(io.BytesIO(data)), size)


# AVIF and HEIC: boxes in boxes. They turn by a box of their own; what EXIF says about it is to be ignored.

_CODED: Final = {b"av01", b"hvc1", b"grid", b"iden", b"iovl", b"tmap", b"sato"}  # items that make pixels


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the content of each box between `start` and `end`."""
    for _ in range(_MAX_PARTS):
        if start + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if length == 1:
            length, content = int.from_bytes(data[content : content + 8]), start + 16
        stop = start + length if length else end
        if not content <= stop <= end:
            raise ImageUndecodable(_CUT)
        yield kind, content, stop
        start = stop
    raise ImageUndecodable(_TOO_MANY_PARTS)


def _essential_boxes(data: bytes) -> bytes:
    """The same file with its metadata and films renamed to what decoders skip; one picture is left.

    libheif reads each item of metadata when it opens a file, and items may overlap: two hundred that all
    point to the same 9 MB took 3 GB of memory and 12 s. Pillow parses the EXIF of an AVIF, and warns if it
    is odd. The frames of a film are listed when it is opened, and may be millions.
    """
    renamed: dict[int, bytes] = {}
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"ftyp":
            renamed[start] = data[start:end].replace(b"avis", b"avif")
        elif kind == b"moov":
            renamed[data.rindex(kind, 0, start)] = b"free"
        elif kind == b"meta":
            renamed |= {at: b"mski" for at, item in _items(data, start + 4, end) if item not in _CODED}
    head = bytearray(data[: max(at + len(name) for at, name in renamed.items())])
    for at, name in renamed.items():
        head[at : at + len(name)] = name
    return b"".join([head, memoryview(data)[len(head) :]])


def _items(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Where the type of each item stands, and the type."""
    for kind, listing, listing_end in _boxes(data, start, end):
        if kind == b"iinf":
            for entry, item, _ in _boxes(data, listing + (8 if data[listing] else 6), listing_end):
                if entry != b"infe" or data[item] not in {2, 3}:
                    raise ImageUndecodable(_BROKEN)
                at = item + (8 if data[item] == 2 else 10)
                yield at, data[at : at + 4]


def _avif_header(data: bytes) -> Header:
    image = AvifImageFile(io.BytesIO(_essential_boxes(data)))
    return Header(image.size, _orientation(image.info.get("exif", b"")))  # made by Pillow from the boxes


def _avif_decode(data: bytes, size: tuple[int, int], _shortest_side: int | None) -> Image.Image:
    return _load(AvifImageFile(io.BytesIO(_essential_boxes(data))), size)


def _heic_header(data: bytes) -> Header:
    return Header(_open_heic(data).size)  # upright already, and so are the pixels


def _heic_decode(data: bytes, _size: tuple[int, int], _shortest_side: int | None) -> Image.Image:
    heic = _open_heic(data)
    pixels = heic.data
    return Image.frombytes(heic.mode, heic.size, pixels, "raw", heic.mode, heic.stride)


def _open_heic(data: bytes) -> HeifFile:
    return open_heif(_essential_boxes(data))


FORMATS: Final = {
    "jpeg": Format(_jpeg_header, _jpeg_decode),
    "png": Format(_png_header, _png_decode),
    "gif": Format(_gif_header, _gif_decode),
    "webp": Format(_webp_header, _webp_decode),
    "avif": Format(_avif_header, _avif_decode),
    "heic": Format(_heic_header, _heic_decode),
}
