"""From a decoded picture to the tensor that a model takes, as the model's own reference implementation does it.

Two public files describe it: `preprocessor_config.json` (transformers and transformers.js) and `preprocess_cfg.json`
(open_clip, as the Immich models carry it). Both come down to one `Preprocessing`; they differ in one detail, how an
odd margin is halved for the centre crop, which `margins` holds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seesame.errors import ModelInvalid

ResizeMode = Literal["shortest", "squash", "longest"]
Margins = Literal["floor", "even"]

MAX_SIDE = 4096
"""No published model takes more; a larger number in a file is a mistake, or meant to exhaust the memory."""

_SLENDER = 4
"""How many times longer than its crop a resized picture may be before only the crop is computed."""

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture becomes a tensor: resize, centre crop or pad, scale, normalise.

    `resize` is the (height, width) the picture is brought to: exactly ("squash"), until it covers it ("shortest") or
    until it fits into it ("longest"); None leaves the picture's size. `crop` is the (height, width) cut from the
    middle, padded with `fill` where the picture is smaller; None cuts nothing. `scale` turns 0..255 into what `mean`
    and `std` are of, for red, green and blue.
    """

    resize: tuple[int, int] | None = (224, 224)
    mode: ResizeMode = "shortest"
    crop: tuple[int, int] | None = (224, 224)
    margins: Margins = "floor"
    interpolation: Image.Resampling = Image.Resampling.BICUBIC
    scale: float = 1 / 255
    mean: tuple[float, float, float] = _CLIP_MEAN
    std: tuple[float, float, float] = _CLIP_STD
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        sizes = [side for pair in (self.resize, self.crop) if pair is not None for side in pair]
        if not all(1 <= side <= MAX_SIDE for side in sizes):
            raise ModelInvalid(f"The preprocessing asks for a side that is not between 1 and {MAX_SIDE} pixels.")
        if self.crop is None and (self.resize is None or self.mode != "squash"):
            raise ModelInvalid("The preprocessing does not lead to one fixed size.")
        if not all(math.isfinite(value) for value in (self.scale, *self.mean, *self.std)) or min(self.std) <= 0:
            raise ModelInvalid("The preprocessing has a mean, a deviation or a scale that is not usable.")

    @property
    def size(self) -> tuple[int, int]:
        """The (height, width) of the tensor, in pixels."""
        size = self.crop or self.resize
        assert size is not None  # __post_init__ refuses a description without either
        return size

    @property
    def shortest_side(self) -> int | None:
        """How many pixels of the picture's shorter side are used: what to hand to `images.decode`.

        None where the picture is cropped at its own size, so that it must not be decoded at a reduced scale.
        """
        return None if self.resize is None else max(self.resize)

    @property
    def key(self) -> str:
        """Everything that changes the tensor, as text: a part of a space's identity."""
        return repr((self.resize, self.mode, self.crop, self.margins, int(self.interpolation),
                     self.scale, self.mean, self.std, self.fill))  # fmt: skip

    def apply(self, image: Image.Image) -> NDArray[np.float32]:
        """The tensor, shape (3, height, width), for a decoded RGB picture of any size."""
        pixels = np.asarray(self.fit(image), dtype=np.uint8)
        tensor = np.empty((3, *self.size), dtype=np.float32)
        for channel in range(3):
            gain = np.float32(self.scale / self.std[channel])
            np.multiply(pixels[:, :, channel], gain, out=tensor[channel])
            tensor[channel] -= np.float32(self.mean[channel] / self.std[channel])
        return tensor

    def fit(self, image: Image.Image) -> Image.Image:
        """The RGB picture resized and cropped to `size`."""
        image = image if image.mode == "RGB" else image.convert("RGB")
        height, width = self._resized(image.height, image.width)
        if self.crop is None:
            return image.resize((width, height), self.interpolation)
        top, rows = self._window(height, self.crop[0])
        left, columns = self._window(width, self.crop[1])
        y, x = max(top, 0), max(left, 0)
        if max(height / rows, width / columns) > _SLENDER:
            # Only the part that the crop keeps is computed: 16,384 by 1 pixels would otherwise become millions of
            # columns, of which 224 are used. Pillow rounds this a little differently, so only where it must be.
            box = (x * image.width / width, y * image.height / height,
                   (x + columns) * image.width / width, (y + rows) * image.height / height)  # fmt: skip
            part = image.resize((columns, rows), self.interpolation, box=box)
        else:
            part = image.resize((width, height), self.interpolation).crop((x, y, x + columns, y + rows))
        if part.size == (self.crop[1], self.crop[0]):
            return part
        canvas = Image.new("RGB", (self.crop[1], self.crop[0]), self.fill)
        canvas.paste(part, (max(-left, 0), max(-top, 0)))
        return canvas

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) after resizing, before the crop."""
        if self.resize is None:
            return height, width
        target_height, target_width = self.resize
        if self.mode == "squash":
            return target_height, target_width
        if self.mode == "shortest" and target_height == target_width:
            # Cut off, not rounded: torchvision and transformers do so.
            return (target_height, int(target_height * width / height)) if height <= width else (
                int(target_width * height / width), target_width)  # fmt: skip
        ratios = height / target_height, width / target_width
        ratio = max(ratios) if self.mode == "longest" else min(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def _window(self, have: int, want: int) -> tuple[int, int]:
        """Where the crop starts along one axis (below 0: that much is padded), and how much of the picture it has."""
        if self.margins == "floor":
            start = (have - want) // 2
        else:
            start = round((have - want) / 2) if have >= want else -((want - have) // 2)
        return start, min(have, want)


def from_open_clip(config: Mapping[str, Any]) -> Preprocessing:
    """What open_clip's `preprocess_cfg.json` describes. Raises ModelInvalid for a value it cannot follow."""
    if config.get("mode", "RGB") != "RGB":
        raise ModelInvalid("preprocess_cfg.json: only the mode RGB is supported.")
    size = _pair(config.get("size", 224), "preprocess_cfg.json: size")
    mode = config.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash", "longest"):
        raise ModelInvalid("preprocess_cfg.json: resize_mode must be shortest, squash or longest.")
    interpolation = _filter(config.get("interpolation", "bicubic"), "preprocess_cfg.json: interpolation")
    if mode == "shortest" and size[0] != size[1]:
        interpolation = Image.Resampling.BICUBIC  # open_clip ignores the setting in this one case
    return Preprocessing(
        resize=size,
        mode=mode,
        crop=None if mode == "squash" else size,
        margins="even",
        interpolation=interpolation,
        mean=_triple(config.get("mean", _CLIP_MEAN), "preprocess_cfg.json: mean"),
        std=_triple(config.get("std", _CLIP_STD), "preprocess_cfg.json: std"),
        # open_clip pads only when it fits the longest side; what its crop adds elsewhere is black.
        fill=_colour(config.get("fill_color", 0)) if mode == "longest" else (0, 0, 0),
    )


def from_transformers(config: Mapping[str, Any]) -> Preprocessing:
    """What a `preprocessor_config.json` describes. Raises ModelInvalid for a value it cannot follow.

    Absent values mean what the named processor's own defaults say: shortest side and centre crop for CLIP, a plain
    resize for SigLIP and ViT.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "CLIPImageProcessor")
    clip = "CLIP" in kind
    if not clip and not kind.startswith(("Siglip", "SigLIP", "ViT", "Deit", "DeiT", "ConvNext")):
        raise ModelInvalid("preprocessor_config.json: this kind of image processor is not supported.")
    if kind.startswith("ConvNext") and "crop_pct" in config:
        raise ModelInvalid("preprocessor_config.json: crop_pct is not supported.")
    if config.get("do_pad"):
        raise ModelInvalid("preprocessor_config.json: do_pad is not supported.")
    resize, mode = _resize(config, clip)
    crop = None
    if config.get("do_center_crop", clip):
        crop = _pair(config.get("crop_size", 224), "preprocessor_config.json: crop_size")
    normalise = config.get("do_normalize", True)
    return Preprocessing(
        resize=resize,
        mode=mode,
        crop=crop,
        interpolation=_filter(config.get("resample", 3 if clip else 2), "preprocessor_config.json: resample"),
        scale=_number(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
        mean=_triple(config.get("image_mean", _CLIP_MEAN if clip else _HALF), "image_mean") if normalise else (0, 0, 0),
        std=_triple(config.get("image_std", _CLIP_STD if clip else _HALF), "image_std") if normalise else (1, 1, 1),
    )


def _resize(config: Mapping[str, Any], clip: bool) -> tuple[tuple[int, int] | None, ResizeMode]:
    if not config.get("do_resize", True):
        return None, "shortest"
    name = "preprocessor_config.json: size"
    size = config.get("size", 224)
    if isinstance(size, Mapping):
        if set(size) == {"shortest_edge"}:
            return _pair(size["shortest_edge"], name), "shortest"
        if set(size) != {"height", "width"}:
            raise ModelInvalid(f"{name} must have shortest_edge, or height and width.")
        return _pair(size, name), "squash"
    # A bare number is what old files have; each kind of processor reads it in its own way.
    return _pair(size, name), "shortest" if clip and not isinstance(size, list) else "squash"


def _pair(value: Any, name: str) -> tuple[int, int]:
    """(height, width) from a number, a list or a mapping."""
    if isinstance(value, Mapping):
        value = [value.get("height"), value.get("width")]
    values = list(value) if isinstance(value, list | tuple) else [value]
    values = values * 2 if len(values) == 1 else values
    if len(values) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in values):
        raise ModelInvalid(f"{name} must be one or two whole numbers.")
    return values[0], values[1]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ModelInvalid("The preprocessing has text where a number belongs.")
    return float(value)


def _triple(value: Any, name: str) -> tuple[float, float, float]:
    values = [_number(item) for item in value] if isinstance(value, list | tuple) else [_number(value)] * 3
    if len(values) != 3:
        raise ModelInvalid(f"{name} must be three numbers, for red, green and blue.")
    return values[0], values[1], values[2]


def _colour(value: Any) -> tuple[int, int, int]:
    red, green, blue = (round(level) for level in _triple(value, "fill_color"))
    if not all(0 <= level <= 255 for level in (red, green, blue)):
        raise ModelInvalid("fill_color must be between 0 and 255.")
    return red, green, blue


def _filter(value: Any, name: str) -> Image.Resampling:
    try:
        return _FILTERS[value.lower()] if isinstance(value, str) else Image.Resampling(value)
    except (KeyError, ValueError) as error:
        raise ModelInvalid(f"{name} is not a known interpolation.") from error
