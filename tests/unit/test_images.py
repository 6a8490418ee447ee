"""Pictures that people really send: every format, mode and turn gives the right pixels."""

import io
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pillow_heif
import pytest
from PIL import Image, PngImagePlugin

from seesame.errors import ImageTooLarge
from seesame.images import ImageInfo, ImageLimits, decode, encode_jpeg, inspect
from tests.hostile import exif, ycck

RED, GREEN, BLUE, YELLOW = (200, 30, 40), (30, 180, 60), (20, 60, 220), (240, 220, 20)
WHITE = (255, 255, 255)
SIZE = (96, 64)


def quadrants() -> Image.Image:
    """Four colours, so that each of the eight turns shows."""
    image = Image.new("RGB", SIZE, RED)
    image.paste(GREEN, (48, 0, 96, 32))
    image.paste(BLUE, (0, 32, 48, 64))
    image.paste(YELLOW, (48, 32, 96, 64))
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def heic(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=95, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def assert_close(image: Image.Image, expected: Image.Image, tolerance: float = 6) -> None:
    """On average, that is: the edges between colours ring in lossy formats."""
    assert image.mode == "RGB"
    assert image.size == expected.size
    difference = np.abs(np.asarray(image, np.int16) - np.asarray(expected.convert("RGB"), np.int16))
    assert difference.mean() < tolerance


def assert_pixels(data: bytes, *expected: tuple[int, int, int], tolerance: int = 0) -> None:
    """The first row of a picture."""
    row = np.asarray(decode(data), np.int16)[0]
    assert np.abs(row - np.array(expected, np.int16)).max() <= tolerance


ENCODERS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": lambda image: saved(image, "JPEG", quality=95, subsampling=0),
    "png": lambda image: saved(image, "PNG"),
    "webp": lambda image: saved(image, "WEBP", quality=95),
    "gif": lambda image: saved(image, "GIF"),
    "avif": lambda image: saved(image, "AVIF", quality=95),
    "heic": heic,
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_every_format(kind: str) -> None:
    """Each format on the allow-list is recognised by content and decoded to its colours."""
    data = ENCODERS[kind](quadrants())
    assert inspect(data) == ImageInfo(kind, *SIZE)
    assert_close(decode(data), quadrants())


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": True, "exif": exif(1)}, {"exif": exif(1)}])
def test_webp_headers(options: dict[str, object]) -> None:
    """The size is read from each of the three kinds of WebP header."""
    data = saved(quadrants(), "WEBP", **options)
    assert inspect(data) == ImageInfo("webp", *SIZE)
    assert_close(decode(data), quadrants())


@pytest.mark.parametrize("brand", [b"mif1", b"msf1"])
@pytest.mark.parametrize("kind", ["avif", "heic"])
def test_general_brand(kind: str, brand: bytes) -> None:
    """A file of the general HEIF brand is told apart by its compatible brands."""
    data = ENCODERS[kind](quadrants())
    assert_close(decode(data[:8] + brand + data[12:]), quadrants())


def test_one_pixel() -> None:
    """A picture of one pixel is a picture."""
    for kind in ("PNG", "GIF", "WEBP", "JPEG"):
        assert decode(saved(Image.new("RGB", (1, 1), "white"), kind)).size == (1, 1)


def sidelong(orientation: int) -> Image.Image:
    """The quadrants as a camera stores them when it was held so that `orientation` turns them upright."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return quadrants() if orientation == 1 else quadrants().transpose(undo[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_orientation(kind: str, orientation: int) -> None:
    """Each EXIF turn is undone, once, and the size is the one that is shown."""
    data = saved(sidelong(orientation), kind, quality=95, exif=exif(orientation))
    assert inspect(data) == ImageInfo(kind.lower(), *SIZE)
    assert_close(decode(data), quadrants())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_orientation(orientation: int) -> None:
    """HEIC turns by boxes of its own, which are applied once, although its EXIF says the same."""
    data = heic(sidelong(orientation), exif=exif(orientation))  # of which the encoder makes the boxes
    assert inspect(data) == ImageInfo("heic", *SIZE)
    assert_close(decode(data), quadrants())


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_meaningless_orientation(orientation: int) -> None:
    """A turn that EXIF does not define is ignored."""
    data = saved(quadrants(), "JPEG", quality=95, exif=exif(orientation))
    assert_close(decode(data), quadrants())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("of_type", ["H", "I"])
def test_exif_byte_order(order: str, of_type: str) -> None:
    """Both byte orders are understood, and the long integer that some cameras write."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(f"{order}{of_type}", 3).ljust(4, b"\0")
    entry = struct.pack(f"{order}HHI", 0x0112, 4 if of_type == "I" else 3, 1) + value
    tiff = magic + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)
    data = saved(sidelong(3), "JPEG", quality=95, exif=b"Exif\0\0" + tiff)
    assert_close(decode(data), quadrants())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_png_modes(mode: str) -> None:
    """An opaque picture looks the same in each mode of PNG."""
    image = quadrants().convert(mode)
    assert_close(decode(saved(image, "PNG")), image, 0.1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "HEIC"])
def test_alpha(kind: str) -> None:
    """Alpha is laid on white: half-transparent red is pink, and what is not seen is white."""
    image = Image.new("RGBA", SIZE, (*RED, 255))
    image.paste((*RED, 128), (32, 0, 64, 64))
    image.paste((*BLUE, 0), (64, 0, 96, 64))
    data = heic(image) if kind == "HEIC" else saved(image, kind, quality=100)
    picture = decode(data)
    for x, colour in ((12, RED), (48, (227, 142, 147)), (84, WHITE)):
        assert np.abs(np.array(picture.getpixel((x, 32))) - colour).max() <= 6


PLTE = chunk(b"PLTE", bytes([*RED, *BLUE]))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png((3, 1), 16, 0, b"\0" + struct.pack(">3H", 0, 0x8000, 0xFFFF)), [0, 128, 255]),
        (png((2, 1), 16, 0, b"\0" + struct.pack(">2H", 0, 0x8000), chunk(b"tRNS", b"\0\0")), [255, 128]),
        (png((2, 1), 16, 4, b"\0" + struct.pack(">4H", 0x8000, 0xFFFF, 0, 0)), [128, 255]),
        (png((2, 1), 8, 0, b"\0\x10\x20", chunk(b"tRNS", b"\0\x10")), [255, 0x20]),
        (png((4, 1), 4, 0, b"\0\x01\x2f", chunk(b"tRNS", b"\0\x02")), [0, 17, 255, 255]),
        (png((4, 1), 2, 0, b"\0\x1b", chunk(b"tRNS", b"\0\x01")), [0, 255, 170, 255]),
        (png((2, 1), 1, 0, b"\0\x40", chunk(b"tRNS", b"\0\x00")), [255, 255]),
    ],
)
def test_grey_png(data: bytes, expected: list[int]) -> None:
    """Grey of each depth is scaled to eight bits, and its transparent shade is found at each depth."""
    assert_pixels(data, *[(value, value, value) for value in expected])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png((2, 1), 8, 3, b"\0\0\1", PLTE), [RED, BLUE]),
        (png((2, 1), 8, 3, b"\0\0\1", PLTE, chunk(b"tRNS", b"\xff\0")), [RED, WHITE]),
        (png((2, 1), 8, 3, b"\0\0\1", PLTE, chunk(b"tRNS", b"\0\xff")), [WHITE, BLUE]),
        (png((2, 1), 1, 3, b"\0\x40", PLTE, chunk(b"tRNS", b"\x80")), [(227, 142, 147), BLUE]),
        (
            png((2, 1), 8, 2, bytes([0, *RED, *BLUE]), chunk(b"tRNS", struct.pack(">3H", *BLUE))),
            [RED, WHITE],
        ),
        (
            png(
                (2, 1), 16, 2, b"\0" + struct.pack(">6H", 0x1234, 0x8000, 0xFF00, 0x4321, 9, 0),
                chunk(b"tRNS", struct.pack(">3H", 0x4321, 9, 0)),
            ),
            [(0x12, 0x80, 0xFF), WHITE],
        ),
    ],
)  # fmt: skip
def test_colour_png(data: bytes, expected: list[tuple[int, int, int]]) -> None:
    """Palettes and true colour of each depth keep their colours, and what is transparent is white."""
    assert_pixels(data, *expected)


def test_interlaced_png() -> None:
    """An interlaced PNG, down to sizes at which some of its passes are empty, is decoded."""
    for size in ((1, 1), (3, 2), (5, 5), (8, 9)):
        raw = b"".join(
            (b"\0" + b"\x80" * len(range(x, size[0], dx))) * len(range(y, size[1], dy))
            for x, y, dx, dy in PASSES
            if x < size[0]
        )
        header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 1)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
        assert_close(decode(b"\x89PNG\r\n\x1a\n" + body), Image.new("L", size, 128), 0.1)


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def test_black_png() -> None:
    """A picture whose last row is black is not taken for an incomplete one, however well it is compressed."""
    for size in ((1, 1), (300, 200), (5000, 5000)):
        assert decode(saved(Image.new("RGB", size), "PNG", compress_level=9)).getextrema() == ((0, 0),) * 3


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_modes(mode: str, progressive: bool) -> None:
    """Grey and CMYK JPEGs have the right colours; what prepress programs call CMYK is stored inverted."""
    image = quadrants().convert(mode)
    data = saved(image, "JPEG", quality=95, progressive=progressive)
    assert_close(decode(data), image)


def test_ycck_jpeg() -> None:
    """Comes out in the right colours."""
    assert_close(decode(ycck(quadrants())), quadrants())


def test_grey_jpeg_is_complete() -> None:
    """A picture that is truly the grey that decoders fill up with is not taken for an incomplete one."""
    for mode, progressive in (("RGB", False), ("RGB", True), ("L", False)):
        image = Image.new("RGB", (64, 64), (128, 128, 128)).convert(mode)
        assert_close(decode(saved(image, "JPEG", progressive=progressive)), image, 1)


def test_jpeg_shortest_side() -> None:
    """A JPEG is reduced while decoding, never below twice the side wanted, and other formats are not."""
    image = quadrants().resize((1200, 800))
    for side, expected in ((None, (1200, 800)), (50, (150, 100)), (100, (300, 200)), (101, (600, 400))):
        assert decode(saved(image, "JPEG"), shortest_side=side).size == expected
    assert decode(saved(image, "JPEG"), shortest_side=4000).size == (1200, 800)
    assert decode(saved(image, "PNG"), shortest_side=50).size == (1200, 800)
    assert_close(decode(saved(image, "JPEG"), shortest_side=50), quadrants().resize((150, 100)))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_first_frame_only(kind: str) -> None:
    """Of an animation, the first frame is the picture."""
    others = [Image.new("RGB", SIZE, (shade, shade, shade)) for shade in (0, 100)]
    data = saved(quadrants(), kind, save_all=True, append_images=others, duration=50, quality=95)
    assert_close(decode(data), quadrants())


def test_heic_collection() -> None:
    """Of a HEIC with several pictures, the primary one is the picture."""
    collection = pillow_heif.from_pillow(quadrants())
    collection.add_from_pillow(Image.new("RGB", SIZE))
    buffer = io.BytesIO()
    collection.save(buffer, quality=95, primary_index=0)
    assert_close(decode(buffer.getvalue()), quadrants())


def test_heic_grid() -> None:
    """A HEIC of tiles, as phones write it, is put together."""
    image = quadrants().resize((300, 200))
    data = heic(image, tile_size=128)
    assert b"grid" in data
    assert_close(decode(data), image)


def test_threads() -> None:
    """Pictures decoded in several threads at once are the same as those decoded one by one."""
    files = [encode(quadrants().resize((320, 240))) for encode in ENCODERS.values()] * 8
    with ThreadPoolExecutor(4) as pool:
        together = [picture.tobytes() for picture in pool.map(decode, files)]
    assert together == [decode(data).tobytes() for data in files]


def test_small_gif_frame() -> None:
    """What the first frame of a GIF leaves uncovered is white; a frame over the edge widens the picture."""
    frame = saved(Image.new("RGB", (4, 4), RED), "GIF")
    at = frame.index(b",\0\0\0\0")
    larger = frame[:6] + struct.pack("<HH", 8, 8) + frame[10 : at + 1] + struct.pack("<HH", 4, 2) + frame[at + 5 :]
    picture = decode(larger)
    assert picture.size == (8, 8)
    assert [picture.getpixel(xy) for xy in ((0, 0), (4, 2), (7, 5), (7, 6))] == [WHITE, RED, RED, WHITE]
    wider = frame[: at + 1] + struct.pack("<HH", 3, 0) + frame[at + 5 :]
    assert inspect(wider) == ImageInfo("gif", 7, 4)
    assert decode(wider).size == (7, 4)


def test_decoded_picture_carries_no_metadata() -> None:
    """Nothing of a picture's metadata outlives its decoding."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    for data in (
        saved(quadrants(), "JPEG", exif=exif(1), comment=b"secret", icc_profile=b"profile"),
        saved(quadrants(), "PNG", pnginfo=text, icc_profile=b"profile"),
        saved(quadrants(), "WEBP", exif=exif(1), icc_profile=b"profile"),
    ):
        assert decode(data).info == {}


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((400, 200), 100, (100, 50)),
        ((200, 400), 100, (50, 100)),
        ((1000, 1), 100, (100, 1)),
        ((400, 200), 400, (400, 200)),
        ((400, 200), 800, (400, 200)),
        ((400, 200), None, (400, 200)),
    ],
)
def test_encode_jpeg_size(size: tuple[int, int], max_side: int | None, expected: tuple[int, int]) -> None:
    """A stored picture is scaled down to the side wanted, keeps its shape, and is never scaled up."""
    data = encode_jpeg(Image.new("RGB", size, RED), max_side=max_side)
    assert inspect(data) == ImageInfo("jpeg", *expected)
    assert_close(decode(data), Image.new("RGB", expected, RED))


def test_encode_jpeg_writes_no_metadata() -> None:
    """A stored picture has neither EXIF, profile, comment nor XMP, even where the picture given has them."""
    image = Image.open(
        io.BytesIO(saved(quadrants(), "JPEG", exif=exif(6), comment=b"secret", icc_profile=b"profile", xmp=b"x"))
    )
    image.load()
    stored = Image.open(io.BytesIO(encode_jpeg(image)))
    assert not {"exif", "icc_profile", "comment", "xmp"} & set(stored.info)
    assert "comment" in image.info  # the picture given is left as it was


def test_encode_jpeg_lays_alpha_on_white() -> None:
    """A picture with alpha can be stored: it is laid on white."""
    assert_close(decode(encode_jpeg(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))), Image.new("RGB", (8, 8), "white"))


def test_limits_are_inclusive() -> None:
    """A picture of exactly the limit is accepted; the next larger one is refused, and told why."""
    data = saved(Image.new("RGB", (40, 30)), "PNG")
    assert inspect(data, limits=ImageLimits(len(data), 1200, 40)).width == 40
    for limits, sentence in (
        (ImageLimits(max_bytes=len(data) - 1), f"has {len(data)} bytes; the limit is {len(data) - 1}"),
        (ImageLimits(max_pixels=1199), "is 40x30 pixels; the limit is 0.001199 megapixels"),
        (ImageLimits(max_side=39), "is 40x30 pixels; the limit for a side is 39"),
    ):
        for use in (inspect, decode):
            with pytest.raises(ImageTooLarge, match=sentence):
                use(data, limits=limits)


def test_picture_just_under_the_limit() -> None:
    """A valid picture of 49.9 megapixels is decoded."""
    data = saved(Image.new("L", (7060, 7068), 77), "PNG")
    picture = decode(data)
    assert picture.size == (7060, 7068)
    assert picture.getpixel((7059, 7067)) == (77, 77, 77)
