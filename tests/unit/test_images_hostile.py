"""Pictures that are broken, or made to do harm: each is refused with a reason, or decoded at no special cost."""

import contextlib
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seesame.errors import ImageError, ImageTooLarge, ImageUndecodable, UnsupportedFormat
from seesame.images import ImageLimits, decode, inspect
from tests.hostile import (
    CLAIMS,
    SIGNATURE,
    bomb,
    box,
    chunk,
    endless_film,
    gif_frame_claiming,
    heif_claiming,
    jpeg_claiming,
    jpeg_with,
    many_scans,
    overlapping_metadata,
    photo,
    png,
    saved,
    webp_claiming,
)


@pytest.mark.parametrize(
    "data",
    [
        random.Random(1).randbytes(5000),
        bytes(1000),
        b"not a picture at all",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        b'<!DOCTYPE x [<!ENTITY a "a"><!ENTITY b "&a;&a;">]><svg>&b;</svg>',
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b'<?xml version="1.0"?><image><read filename="x.png"/><write filename="y.php"/></image>',
        b"8BPS\0\1" + bytes(40),
        b"SIMPLE  =                    T" + bytes(2850),
        saved("BMP"),
        saved("ICO", photo((32, 32))),
        saved("TIFF"),
        saved("JPEG2000"),
        saved("PPM"),
        saved("TGA"),
        saved("DDS"),
        box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41") + box(b"moov", bytes(100)),
        box(b"ftyp", b"isom\0\0\2\0avifheic") + saved("AVIF")[32:],
        box(b"ftyp", b"mif1\0\0\0\0mif1miaf") + saved("HEIC")[28:],
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"GIF90a" + saved("GIF")[6:],
        b"\xff\xd8",
    ],
)
def test_unsupported_content(data: bytes) -> None:
    """What is of no format on the list is refused by its content, even where Pillow could open it.

    Nothing is run or fetched for it.
    """
    _REACHED.clear()
    for use in (inspect, decode):
        with pytest.raises(UnsupportedFormat):
            use(data)
    assert _REACHED == []


_REACHED: list[str] = []


def _note(event: str, _: object) -> None:
    if event in ("subprocess.Popen", "os.exec", "os.fork", "os.posix_spawn", "os.system", "socket.connect", "open"):
        _REACHED.append(event)


sys.addaudithook(_note)  # for good: there is no taking one away


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIC"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.99])
def test_cut(kind: str, share: float) -> None:
    """A file whose end is missing is refused, wherever it was cut."""
    data = saved(kind)
    with pytest.raises((ImageUndecodable, UnsupportedFormat)) as caught:
        decode(data[: max(16, int(len(data) * share))])
    assert isinstance(caught.value, ImageUndecodable)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [1, 2, 3, 10])
def test_jpeg_without_its_end(missing: int, progressive: bool) -> None:
    """A JPEG that lacks even its last byte is refused."""
    with pytest.raises(ImageUndecodable, match="incomplete"):
        decode(saved("JPEG", progressive=progressive)[:-missing])


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("shortest_side", [None, 15])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_jpeg_cut_and_closed(share: float, shortest_side: int | None, mode: str, options: dict[str, object]) -> None:
    """A JPEG whose data ends too early, but with an end marker, would be half grey: it is refused."""
    data = saved("JPEG", photo().convert(mode), quality=90, **options)
    with pytest.raises(ImageUndecodable, match="incomplete"):
        decode(data[: int(len(data) * share)] + b"\xff\xd9", shortest_side=shortest_side)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SIGNATURE,
        SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0)),
        png(4, 4, b""),
        png(4, 4, b"not zlib"),
        png(4, 4, zlib.compress(b"\0\1\1\1\1" * 2)),
        png(4, 4, zlib.compress(b"\0\1\1\1\1" * 3 + b"\0\1")),
        png(8, 8, zlib.compress(b"\0\1" * 8), interlace=1),
        SIGNATURE + chunk(b"IEND", b""),
        SIGNATURE + chunk(b"IDAT", zlib.compress(b"\0\1")) + png(1, 1, b"")[8:],
        saved("PNG").replace(b"IEND\xae", b"IEND\xaf"),
        png(0, 5, b""),
        png(5, 0, b""),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0\0\0",
        saved("JPEG").replace(b"\xff\xdb\0\x43", b"\xff\xdb\0\0"),
        b"GIF89a\1\0\1\0\0\0\0;",
        b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\0\0\0\0\0\2\0;",
        b"RIFF\4\0\0\0WEBP",
        b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(10),
        box(b"ftyp", b"avif\0\0\0\0avifmif1"),
        box(b"ftyp", b"heic\0\0\0\0heicmif1"),
        box(b"ftyp", b"heic\0\0\0\0heicmif1") + box(b"meta", bytes(4) + box(b"iinf", b"")),
    ],
)
def test_undecodable(data: bytes) -> None:
    """Empty, header-only and incomplete files are refused, in words that are ours."""
    with pytest.raises(ImageUndecodable, match=r"^The picture [^\n]*\.$"):
        decode(data)


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT"])
def test_png_checksum(kind: bytes) -> None:
    """A PNG with a wrong checksum is refused, also where Pillow would not look."""
    data = bytearray(saved("PNG", photo((20, 20))))
    at = data.index(kind)
    (length,) = struct.unpack_from(">I", data, at - 4)
    data[at + 4 + length] ^= 1
    with pytest.raises(ImageUndecodable):
        decode(bytes(data))


@pytest.mark.parametrize("kind", CLAIMS)
@pytest.mark.parametrize("size", [(30_000, 30_000), (16_383, 16_383), (20_000, 1), (7_072, 7_072)])
def test_claims_over_the_limits(kind: str, size: tuple[int, int]) -> None:
    """A size over the limits is refused by the header, in every format."""
    with pytest.raises(ImageError) as caught:
        inspect(CLAIMS[kind](*size))
    # libavif has a limit of its own, of 2^28 pixels, and no words for what is over it.
    assert isinstance(caught.value, ImageTooLarge) or (kind, size) == ("avif", (30_000, 30_000))


def test_message_says_what_is_wrong() -> None:
    """The refusal tells the size of the picture and the limit."""
    with pytest.raises(ImageTooLarge, match=r"^The picture is 30000x30000 pixels; the limit is 50 megapixels\.$"):
        inspect(png(30_000, 30_000, b""))


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (2**31, 1), (65_535, 1), (1, 2**32 - 1)])
def test_png_claims(size: tuple[int, int]) -> None:
    """Sizes that overflow 32 bits are compared as they are."""
    with pytest.raises(ImageTooLarge):
        decode(png(*size, b""))


MEMORY = """
import resource, sys
from seesame.errors import ImageError
from seesame.images import decode, inspect
data = open(sys.argv[1], "rb").read()
decode(open(sys.argv[2], "rb").read())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outcomes = []
for use in (inspect, decode):
    try:
        use(data)
        outcomes.append("ok")
    except ImageError as error:
        outcomes.append(error.code)
print(*outcomes, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""

LARGE, OK = "image_too_large", "ok"
MAKER = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x0f\0\2\0\0\0\1A\0\0\0\0\0\0\0"
BLACK, TEXT = zlib.compress(b"\0\0\0\0\0" * 4), bomb(1 << 20)


@pytest.mark.parametrize(
    ("make", "outcome"),
    [
        pytest.param(lambda: png(30_000, 30_000, bomb(1 << 26)), LARGE, id="30000x30000"),
        pytest.param(lambda: png(2**31 - 1, 2**31 - 1, b""), LARGE, id="2^31"),
        pytest.param(lambda: gif_frame_claiming(13_000, 13_000), LARGE, id="GIF frame"),
        pytest.param(lambda: webp_claiming(16_384, 16_384), LARGE, id="WebP canvas"),
        pytest.param(lambda: jpeg_claiming(30_000, 30_000), LARGE, id="JPEG"),
        pytest.param(lambda: heif_claiming("AVIF", 16_000, 16_000), LARGE, id="AVIF"),
        pytest.param(lambda: heif_claiming("HEIC", 30_000, 30_000), LARGE, id="HEIC"),
        pytest.param(lambda: png(4, 4, BLACK, chunk(b"zTXt", b"a\0\0" + bomb(1 << 26))), OK, id="zTXt"),
        pytest.param(lambda: png(4, 4, BLACK, *[chunk(b"zTXt", b"a\0\0" + TEXT)] * 100), OK, id="zTXts"),
        pytest.param(lambda: png(4, 4, BLACK, chunk(b"iTXt", b"a\0\1\0\0\0" + TEXT)), OK, id="iTXt"),
        pytest.param(lambda: png(4, 4, BLACK, chunk(b"iCCP", b"a\0\0" + bomb(1 << 26))), OK, id="iCCP"),
        pytest.param(lambda: png(4, 4, bomb(1 << 26)), OK, id="IDAT"),
        pytest.param(overlapping_metadata, OK, id="overlapping items"),
        pytest.param(endless_film, OK, id="film"),
    ],
)
def test_memory(make: Callable[[], bytes], outcome: str, tmp_path: Path) -> None:
    """Whatever a small file claims or hides, neither looking at it nor decoding it takes 20 MB."""
    data = make()
    kind = {b"heic": "HEIC", b"avif": "AVIF", b"avis": "AVIF"}.get(data[8:12], "PNG")
    (tmp_path / "hostile").write_bytes(data)
    (tmp_path / "warm-up").write_bytes(saved(kind))  # so that loading the libraries does not count
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "hostile"), str(tmp_path / "warm-up")]
    *outcomes, grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert outcomes == [outcome, outcome]
    assert int(grown) <= 20


@pytest.mark.parametrize(
    "data",
    [
        jpeg_with((0xE2, b"ICC_PROFILE\0\1\1" + b"garbage")),
        jpeg_with(*[(0xE2, b"ICC_PROFILE\0" + bytes([i, 50]) + bytes(65_000)) for i in range(1, 51)]),
        jpeg_with((0xED, b"Photoshop 3.0\x00" + b"8BIM\3\xed\0\0\xff\xff\xff\xff" * 100)),
        jpeg_with((0xE2, b"MPF\0II*\0\x08\0\0\0" + b"\xff" * 100)),
        jpeg_with((0xE1, b"Exif\0\0" + b"\xff" * 100)),
        jpeg_with((0xFE, b"\xff\xda\xff\xd9" * 10)),
        jpeg_with((0xE1, b"Exif\0\0" + saved("JPEG", photo((32, 24))))),
        saved("PNG", icc_profile=b"\xff" * 3_000_000),
        saved("PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        saved("WEBP", icc_profile=b"\xff" * 100_000, exif=b"Exif\0\0II*\0" + b"\xff" * 50),
        saved("AVIF", exif=MAKER).replace(b"*\0\0\0\x08", b"*\xff\xff\xff\xff"),
        saved("HEIC", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 50),
    ],
)
def test_bad_metadata_is_dropped(data: bytes) -> None:
    """Profiles, EXIF and comments that are broken, huge or full of markers do not cost the picture."""
    assert_photo(decode(data))


def assert_photo(image: Image.Image) -> None:
    assert image.size == (160, 120)
    assert np.abs(np.asarray(image, np.int16) - np.asarray(photo(), np.int16)).mean() < 12


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_loop(order: str) -> None:
    """An EXIF directory that names itself as the next, and as its own child, is read once."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(f"{order}HHII", 0x8769, 4, 1, 8) + struct.pack(f"{order}HHII", 0x014A, 4, 1, 8)
    tiff = magic + struct.pack(f"{order}IH", 8, 2) + entries + struct.pack(f"{order}I", 8)
    for kind in ("JPEG", "PNG", "WEBP"):
        assert_photo(decode(saved(kind, exif=b"Exif\0\0" + tiff)))


@pytest.mark.parametrize(
    ("kind", "tail"),
    [
        ("GIF", b"<html><script>alert(1)</script></html>"),
        ("JPEG", b"PK\3\4" + bytes(100) + b"PK\5\6" + bytes(18)),
        ("JPEG", b"\xff\xda" * 500),
        ("JPEG", saved("JPEG", Image.new("RGB", (10, 10)))),
        ("PNG", b"<?php echo 1; ?>"),
        ("PNG", png(30_000, 30_000, b"")),
        ("WEBP", b"<html>"),
    ],
)
def test_polyglot(kind: str, tail: bytes) -> None:
    """What follows the end of a picture is not looked at."""
    picture = decode(saved(kind) + tail)
    assert picture.size == (160, 120)
    assert picture.tobytes() == decode(saved(kind)).tobytes()


def test_much_after_the_end() -> None:
    """Twenty megabytes after the end marker are over the limit for bytes, and where that is higher, ignored."""
    data = saved("JPEG") + bytes(20_000_000)
    with pytest.raises(ImageTooLarge):
        decode(data)
    assert_photo(decode(data, limits=ImageLimits(max_bytes=30_000_000)))


def test_many_gif_frames() -> None:
    """Only the first of ten thousand frames is decoded: the second is broken, and nobody notices."""
    data = saved("GIF")
    frame = b",\0\0\0\0\1\0\1\0\0\2\0"
    assert decode(data[:-1] + frame * 10_000 + b";").tobytes() == decode(data).tobytes()


def test_second_png_header() -> None:
    """A second header with another size does not get its way."""
    data = saved("PNG")
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    assert_photo(decode(data[:33] + second + data[33:]))


def test_second_jpeg_header() -> None:
    """A second header makes a JPEG invalid, whether it claims more pixels or fewer."""
    data = saved("JPEG")
    at = data.index(b"\xff\xc0")
    for size in (struct.pack(">HH", 20_000, 20_000), struct.pack(">HH", 8, 8)):
        second = data[at : at + 5] + size + data[at + 9 : at + 19]
        for place in (at, at + 19):
            with pytest.raises(ImageError):
                decode(data[:place] + second + data[place:])


def test_hidden_jpeg_header() -> None:
    """A segment shorter than its own length field cannot hide one size from the check and show it to the decoder."""
    data = saved("JPEG")
    hidden = b"\xff\xdd\0\0" + b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 20_000, 20_000)
    with pytest.raises(ImageUndecodable):
        inspect(data[:2] + hidden + data[2:])


def test_many_scans() -> None:
    """A JPEG of thousands of scans is refused, and an ordinary progressive one is not."""
    assert_photo(decode(saved("JPEG", progressive=True)))
    assert decode(many_scans(50)).size == (160, 120)
    with pytest.raises(ImageUndecodable, match="too many parts"):
        decode(many_scans(100))
    with pytest.raises(ImageUndecodable, match="too many parts"):
        decode(many_scans(5000))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff" + b"\xff\xfe\0\2" * 30_000,
        SIGNATURE + chunk(b"IHDR", bytes(13)) + chunk(b"tEXt", b"") * 30_000,
        b"GIF89a" + bytes(7) + b"!\xfe" + b"\1a" * 30_000,
        b"RIFF\0\0\0\0WEBP" + b"EXIF\0\0\0\0" * 30_000,
        box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"free", b"") * 30_000,
    ],
)
def test_many_parts(data: bytes) -> None:
    """A file of nothing but tiny parts is given up soon."""
    with pytest.raises(ImageUndecodable, match="too many parts"):
        inspect(data)


@pytest.mark.parametrize(
    "kind", ["JPEG", "progressive JPEG", "PNG", "palette PNG", "WEBP", "lossless WEBP", "GIF", "AVIF", "HEIC"]
)
def test_mutations(kind: str) -> None:
    """Of a valid file with bytes changed, removed or repeated, there is a picture or an error of ours."""
    *adjective, name = kind.split()
    image = photo((48, 36))
    options: dict[str, object] = {word: True for word in adjective if word != "palette"}
    data = saved(name, image.convert("P") if "palette" in adjective else image, **options)
    dice = random.Random(kind)
    for _ in range(150):
        mutated = bytearray(data)
        for _ in range(dice.choice((1, 1, 3, 10))):
            # Headers are where the harm is, so half of the changes are there.
            at = dice.randrange(min(len(mutated), dice.choice((400, len(mutated)))))
            span = dice.choice((1, 1, 2, 4, 16))
            new = dice.choice((dice.randbytes(span), b"\xff" * span, bytes(span), b"", bytes(mutated[at : at + 40])))
            mutated[at : at + span] = new
        for use in (inspect, decode):
            with contextlib.suppress(ImageError):
                use(bytes(mutated), limits=ImageLimits(max_pixels=1_000_000))
