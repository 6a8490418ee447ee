"""Pictures and addresses that are broken, odd, or made to do harm."""

import io
import random
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


def slow_to_decode() -> bytes:
    """A small JPEG of twelve megapixels that takes about a second, as each of its scans goes over all pixels."""
    data = saved("JPEG", photo((4_000, 3_000)), progressive=True, quality=10)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * 85 + b"\xff\xd9"


def ycck(image: Image.Image) -> bytes:
    """A JPEG as Adobe writes it: the YCbCr of the inks, with black inverted."""
    cyan, magenta, yellow, black = image.convert("CMYK").split()
    inks = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr")
    # Pillow inverts all that it writes as CMYK, so the first three are inverted beforehand.
    bands = [band.point(lambda value: 255 - value) for band in inks.split()]
    plain = saved("JPEG", Image.merge("CMYK", [*bands, black]), quality=100, subsampling=0)
    marker = plain.index(b"Adobe")
    return plain[: marker + 11] + b"\x02" + plain[marker + 12 :]


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def grey16() -> bytes:
    return saved("PNG", Image.fromarray(np.linspace(0, 65_535, 64, dtype=np.uint16).reshape(8, 8)))


def with_alpha(mode: str) -> Image.Image:
    image = photo().convert("RGBA")
    image.putalpha(128)
    return image.quantize() if mode == "P" else image.convert(mode)


def animated(kind: str) -> bytes:
    return saved(kind, photo(), save_all=True, append_images=[Image.new("RGB", (160, 120))] * 3, duration=50)


def gif_of_many_frames() -> bytes:
    return saved("GIF")[:-1] + b",\0\0\0\0\1\0\1\0\0\2\0" * 10_000 + b";"


def flipped() -> bytes:
    """A PNG with a wrong checksum."""
    data = bytearray(saved("PNG"))
    data[data.index(b"IDAT") + 30] ^= 1
    return bytes(data)


def exif_loop() -> bytes:
    entries = struct.pack("<HHII", 0x8769, 4, 1, 8) * 2
    return saved("JPEG", exif=b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 8))


def megapixels(width: int, height: int) -> bytes:
    return saved("PNG", Image.new("L", (width, height), 90), compress_level=1)


UNDECODABLE, UNSUPPORTED, LARGE = (422, "image_undecodable"), (415, "unsupported_format"), (413, "image_too_large")
PICTURES: dict[str, tuple[tuple[int, str] | int, Callable[[], bytes]]] = {
    "header only": (UNDECODABLE, lambda: SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0))),
    "signature only": (UNDECODABLE, lambda: SIGNATURE),
    "bad CRC": (UNDECODABLE, flipped),
    "JPEG cut at 10 %": (UNDECODABLE, lambda: saved("JPEG")[: len(saved("JPEG")) // 10]),
    "JPEG cut at 50 %": (UNDECODABLE, lambda: saved("JPEG")[: len(saved("JPEG")) // 2]),
    "JPEG cut at 99 %": (UNDECODABLE, lambda: saved("JPEG")[: len(saved("JPEG")) * 99 // 100]),
    "random": (UNSUPPORTED, lambda: random.Random(1).randbytes(5000)),
    "text": (UNSUPPORTED, lambda: b"not a picture at all"),
    "SVG": (UNSUPPORTED, lambda: b'<?xml version="1.0"?><svg><image href="file:///etc/passwd"/></svg>'),
    "laughs": (UNSUPPORTED, lambda: b'<!DOCTYPE x [<!ENTITY a "a"><!ENTITY b "&a;&a;">]><svg>&b;</svg>'),
    "PDF": (UNSUPPORTED, lambda: b"%PDF-1.7\n"),
    "EPS": (UNSUPPORTED, lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"),
    "MSL": (UNSUPPORTED, lambda: b'<?xml version="1.0"?><image><read filename="x.png"/></image>'),
    "MP4": (UNSUPPORTED, lambda: box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41") + box(b"moov", bytes(100))),
    "PSD": (UNSUPPORTED, lambda: b"8BPS\0\1" + bytes(40)),
    "FITS": (UNSUPPORTED, lambda: b"SIMPLE  =                    T" + bytes(2850)),
    "BMP": (UNSUPPORTED, lambda: saved("BMP")),
    "ICO": (UNSUPPORTED, lambda: saved("ICO", photo((32, 32)))),
    "TIFF": (UNSUPPORTED, lambda: saved("TIFF")),
    "JPEG 2000": (UNSUPPORTED, lambda: saved("JPEG2000")),
    "0 wide": (UNDECODABLE, lambda: png(0, 5, b"")),
    "2^31 px": (LARGE, lambda: png(2**31 - 1, 2**31 - 1, b"")),
    "65,535 wide": (LARGE, lambda: png(65_535, 1, b"")),
    "30,000 squared": (LARGE, lambda: png(30_000, 30_000, bomb(1 << 24))),
    "huge JPEG": (LARGE, lambda: jpeg_claiming(30_000, 30_000)),
    **{f"claims, {kind}": (LARGE, lambda make=make: make(20_000, 1)) for kind, make in CLAIMS.items()},  # type: ignore[misc]
    "huge zTXt": (200, lambda: png(4, 4, zlib.compress(b"\0" * 20), chunk(b"zTXt", b"a\0\0" + bomb(1 << 24)))),
    "huge iCCP": (200, lambda: png(4, 4, zlib.compress(b"\0" * 20), chunk(b"iCCP", b"a\0\0" + bomb(1 << 24)))),
    "huge IDAT": (200, lambda: png(4, 4, bomb(1 << 24))),
    "1 by 1": (200, lambda: saved("PNG", Image.new("RGB", (1, 1), "red"))),
    "49.9 MP": (200, lambda: megapixels(7071, 7057)),
    "grey": (200, lambda: saved("JPEG", photo().convert("L"))),
    "1 bit": (200, lambda: saved("PNG", photo().convert("1"))),
    "16 bit": (200, grey16),
    "palette with alpha": (200, lambda: saved("PNG", with_alpha("P"))),
    "LA": (200, lambda: saved("PNG", with_alpha("LA"))),
    "RGBA": (200, lambda: saved("WEBP", with_alpha("RGBA"))),
    "CMYK": (200, lambda: saved("JPEG", photo().convert("CMYK"))),
    "YCCK": (200, lambda: ycck(photo())),
    "WebP": (200, lambda: saved("WEBP")),
    "AVIF": (200, lambda: saved("AVIF")),
    "HEIC": (200, lambda: saved("HEIC")),
    **{f"EXIF {n}": (200, lambda n=n: saved("JPEG", exif=exif(n))) for n in (0, 9, 65_535)},  # type: ignore[misc]
    "EXIF loop": (200, exif_loop),
    "broken ICC": (200, lambda: jpeg_with((0xE2, b"ICC_PROFILE\0\1\1" + b"garbage"))),
    "huge ICC": (200, lambda: saved("PNG", icc_profile=b"\xff" * 3_000_000)),
    "10,000 frames": (200, gif_of_many_frames),
    "animated WebP": (200, lambda: animated("WEBP")),
    "APNG": (200, lambda: animated("PNG")),
    "animated AVIF": (200, lambda: animated("AVIF")),
    "film": (200, endless_film),
    "overlapping items": (200, overlapping_metadata),
    "GIF and HTML": (200, lambda: saved("GIF") + b"<html><script>alert(1)</script></html>"),
    "JPEG and ZIP": (200, lambda: saved("JPEG") + b"PK\3\4" + bytes(100) + b"PK\5\6" + bytes(18)),
    "9 MB after the end": (200, lambda: saved("JPEG") + bytes(9_000_000)),
    "20 MB after the end": ((413, "request_too_large"), lambda: saved("JPEG") + bytes(20_000_000)),
    "thousands of scans": (UNDECODABLE, lambda: many_scans(5000)),
    "thousands of comments": (UNDECODABLE, lambda: b"\xff\xd8\xff" + b"\xff\xfe\0\2" * 30_000),
}
"""What each picture gets: a status and a code, or 200."""

_PART = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
NO_FORMS = [
    ("multipart/form-data", _PART + b"x\r\n--b--\r\n"),
    ("multipart/form-data; boundary=", _PART + b"x\r\n--b--\r\n"),
    ("multipart/form-data; boundary=c", _PART + b"x\r\n--b--\r\n"),
    ("multipart/form-data; boundary=b", _PART + saved("JPEG")),
    ("multipart/form-data; boundary=b", _PART + saved("JPEG") + b"\r\n--b"),
    ("multipart/form-data; boundary=b", b"--b"),
    ("multipart/form-data; boundary=b", b"nonsense"),
    ("multipart/form-data; boundary=b", b"--b\r\n" + b"A: a\r\n" * 10_000 + b"\r\nx\r\n--b--\r\n"),
    ("multipart/form-data; boundary=b", b"--b\r\nA: " + b"a" * 500_000 + b"\r\n\r\nx\r\n--b--\r\n"),
    ("multipart/form-data; boundary=b", b"preamble" * 100_000 + _PART + b"x\r\n--b--\r\n"),
    ("multipart/form-data; boundary=" + "b" * 5000, b"--" + b"b" * 5000 + b"\r\n"),
    ("multipart/form-data; boundary=\xff\xfe", b"--\xff\xfe\r\n"),
]
"""Content types and bodies that are no forms."""

URLS = [
    "",
    "shop.test/a.jpg",
    "//shop.test/a.jpg",
    "http:/shop.test",
    "http:///a.jpg",
    "http://",
    "file:///etc/passwd",
    "gopher://shop.test/_x",
    "ftp://shop.test/a.jpg",
    "data:image/png;base64,AAAA",
    "jar:http://shop.test!/a",
    "httpſ://shop.test/",
    "http://user@shop.test/",
    "http://user:secret@shop.test/",
    "http://@shop.test/",
    "http://shop.test#@127.0.0.1/",
    "http://127.0.0.1#@shop.test/",
    "http://127.0.0.1:6666\\@1.1.1.1",
    "http://shop.test\\@127.0.0.1/",
    "http:\\\\shop.test\\",
    "http://shop.test/a\r\nHost: other",
    "http://shop.test/a\tb",
    "http://shop.test/\x00",
    "http://shop.test/%00.jpg",
    "http://shop.test/%0D%0Ax",
    "http://shop.test/\x85",
    "http://shop.test/\ud800",
    " http://shop.test/",
    "http://shop.test./",
    "http://shop..test/",
    "http://.shop.test/",
    "http://shop test/",
    "http://shop%2etest/",
    "http://shop.test%00/",
    "http://sh*p.test/",
    "http://-shop.test/",
    "http://" + "a" * 64 + ".test/",
    "http://" + "a." * 127 + "test/",
    "http://shop.test/" + "a" * 8192,
    "http://①②⑦.0.0.1/",
    "http://１２７.０.０.１/",
    "http://127。0。0。1/",
    "http://shop。test/",
    "http://ｓhop.test/",
    "http://\u212aiosk.test/",
    "http://bu\u0308cher.test/",
    "http://xn--\u00fc.test/",
    "http://sh\u200dop.test/",
    "http://shop.test:/",
    "http://shop.test:0/",
    "http://shop.test:080/",
    "http://shop.test:22/",
    "http://shop.test:5432/",
    "http://shop.test:6379/",
    "http://shop.test:8000/",
    "https://shop.test:8443/",
    "http://shop.test:65616/",
    "http://shop.test:99999/",
    "http://shop.test:-80/",
    "http://shop.test:８０/",
    "http://[::1/",
    "http://[::1]x/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[v1.a]/",
    "http://[127.0.0.1]/",
]
"""Addresses with a trick in them, on a host that is trusted."""

LOOPBACK = [
    *(
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "127.255.255.254",
        "0",
        "0.0.0.0",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
    ),
    *(
        "0x7f000001",
        "0x7f.0.0.1",
        "0X7F.1",
        "127.0.0.0x1",
        "0x",
        "127.0.0.01",
        "127.0.0.1.",
        "1.2.3.4.5",
        "256.1.1.1",
    ),
    *("[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"),
    *("[2002:7f00:1::]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]"),
    *("[2001:0:7f00:1::]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]"),
]
PRIVATE = [
    *(
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.0.192",
    ),
    *(
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "203.0.113.7",
        "168.63.129.16",
    ),
    *(
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[ff0e::1]",
        "[2001:db8::1]",
        "[4000::1]",
    ),
    *("[::ffff:10.0.0.1]", "[2002:a00:1::]", "[64:ff9b::10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[100::1]"),
]
