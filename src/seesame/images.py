"""From bytes of strangers to checked pictures: upright, RGB, within the limits.

What keeps hostile files cheap: the first bytes decide which one decoder ever sees a file, and the size is
read and checked before that decoder allocates for it (`seesame.image_formats`).
"""

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from PIL import Image

from seesame.errors import ImageError, ImageTooLarge, ImageUndecodable, UnsupportedFormat
from seesame.image_formats import FORMATS, Header

if TYPE_CHECKING:  # it would bring NumPy along, which decoding processes do without
    from seesame.types import Region

CROPPED_SIDE: Final = 1_024  # pixels; more than any model looks at


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may cost. `max_pixels` and `max_side` hold for what the header claims."""

    max_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_side: int = 16_384


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header says.

    `format` is `jpeg`, `png`, `webp`, `gif`, `avif` or `heic`; width and height are pixels as shown, that is
    after the EXIF turn.
    """

    format: str
    width: int
    height: int


DEFAULT_LIMITS: Final = ImageLimits()


class Decoder(Protocol):
    """What turns strangers' bytes into pictures: this module, or processes that do as it does."""

    def inspect(self, data: bytes, *, limits: ImageLimits = ...) -> ImageInfo:
        """Check a picture's size and kind from its header alone. Raises as `decode` does."""

    def decode(
        self, data: bytes, *, limits: ImageLimits = ..., shortest_side: int | None = ..., max_side: int | None = ...
    ) -> Image.Image:
        """Decode the first frame. Raises ImageTooLarge, UnsupportedFormat or ImageUndecodable."""


def inspect(data: bytes, *, limits: ImageLimits = DEFAULT_LIMITS) -> ImageInfo:
    """Check a picture's size and kind from its header alone, decoding nothing.

    Raises ImageTooLarge, UnsupportedFormat or ImageUndecodable.
    """
    kind, header = _check(data, limits)
    width, height = header.size
    if header.orientation >= 5:  # these lie on their side
        width, height = height, width
    return ImageInfo(kind, width, height)


def needs_decoder(data: bytes) -> bool:
    """Whether `inspect` would hand these bytes to a decoder: AVIF and HEIC, whose headers are boxes in boxes."""
    return data[4:8] == _BOXES


def decode(
    data: bytes,
    *,
    limits: ImageLimits = DEFAULT_LIMITS,
    shortest_side: int | None = None,
    max_side: int | None = None,
) -> Image.Image:
    """Decode the first frame: mode RGB, upright, alpha on white, colour profiles ignored.

    `shortest_side` is the number of pixels that the caller will scale the shorter side down to: a JPEG is
    then decoded at a reduced scale, its shorter side no smaller than twice that. None decodes at full size.
    `max_side` scales the picture down (never up) so that no side exceeds so many pixels.

    Raises ImageTooLarge, UnsupportedFormat or ImageUndecodable.
    """
    kind, header = _check(data, limits)
    with _translated():
        picture = _to_rgb(FORMATS[kind].decode(data, header.size, shortest_side))
        turn = _TURNS.get(header.orientation)
        upright = picture if turn is None else picture.transpose(turn)
        upright.info = {}
        return _fitted(upright, max_side)


def crop(picture: Image.Image, region: "Region") -> bytes:
    """A region of an upright picture as a picture of its own, encoded with hardly a loss, `CROPPED_SIDE` at most."""
    return encode_jpeg(picture.crop(region.box(*picture.size)), max_side=CROPPED_SIDE, quality=95)


def read_file(path: Path, *, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """A file's bytes, one more than the limit at most, so that `inspect` sees what is too large without reading it.

    Raises:
        OSError: it is no file, or cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file")
    with path.open("rb") as file:
        return file.read(limits.max_bytes + 1)


def encode_jpeg(image: Image.Image, *, max_side: int | None = None, quality: int = 90) -> bytes:
    """Encode without any metadata, scaled down (never up) so that no side exceeds `max_side` pixels."""
    picture = _fitted(_to_rgb(image), max_side)
    buffer = io.BytesIO()
    # Without an empty comment, Pillow would write the one that the picture came with.
    picture.save(buffer, "JPEG", quality=quality, comment=b"")
    return buffer.getvalue()


def _fitted(picture: Image.Image, max_side: int | None) -> Image.Image:
    longest = max(picture.size)
    if max_side is None or longest <= max_side:
        return picture
    width, height = (max(1, round(side * max_side / longest)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _check(data: bytes, limits: ImageLimits) -> tuple[str, Header]:
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"The picture has {len(data)} bytes; the limit is {limits.max_bytes}.")
    if not data:
        raise ImageUndecodable("The picture is empty.")
    kind = _sniff(data)
    with _translated():
        header = FORMATS[kind].header(data)
    width, height = header.size
    if min(width, height) < 1:
        raise ImageUndecodable(f"The picture is {width}x{height} pixels: it shows nothing.")
    if width * height > limits.max_pixels:
        most = f"{limits.max_pixels / 1e6:g} megapixels"
        raise ImageTooLarge(f"The picture is {width}x{height} pixels; the limit is {most}.")
    if max(width, height) > limits.max_side:
        raise ImageTooLarge(f"The picture is {width}x{height} pixels; the limit for a side is {limits.max_side}.")
    return kind, header


@contextmanager
def _translated() -> Iterator[None]:
    """The one place where what decoders throw at garbage becomes ours; their words are not for clients."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        raise ImageUndecodable("The picture is damaged and cannot be decoded.") from error


def _sniff(data: bytes) -> str:
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == _BOXES:
        brands = data[8 : min(int.from_bytes(data[:4]), 256)]
        codecs = {brands[:4]}
        if codecs <= _HEIF:  # says only that it is some HEIF; its codec stands among the compatible brands
            codecs = {brands[i : i + 4] for i in range(8, len(brands), 4)}
        if codecs & _AVIF:
            return "avif"
        if codecs & _HEIC:
            return "heic"
    raise UnsupportedFormat("The file is not a JPEG, PNG, WebP, GIF, AVIF or HEIC picture.")


_BOXES: Final = b"ftyp"
_HEIF: Final = {b"mif1", b"msf1", b"mif2"}
_AVIF: Final = {b"avif", b"avis"}
_HEIC: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # converted directly, all but the darkest shades would clip to white
        key = image.info.get("transparency")
        image = image.point(lambda value: value * (1 / 256)).convert("L")
        if key is not None:
            image.info["transparency"] = key
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(rgba, mask=rgba)
    return page
