"""Puts a drawn product in a picture: a studio's clean sweep or a phone photo at home."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from seesame.demo.canvas import HEIGHT, UNIT, WIDTH, Picture, Sheet, smooth_noise, soft_mask
from seesame.demo.palette import rgb
from seesame.demo.patterns import Plane

_SWEEPS = ("#f6f5f2", "#f3efe9", "#eef1f4", "#f5ece9", "#edf1eb", "#ebebee", "#f7f2e6", "#e9eff2", "#f2edf4")


def studio(sheet: Sheet, rng: np.random.Generator, *, standing: bool) -> Image.Image:
    """A packshot: the product on a light backdrop with a soft shadow."""
    picture = _sweep(rng, standing=standing)
    if standing:
        shadow = _floor_shadow(sheet.cover)
    else:
        wide = soft_mask(_shifted(sheet.cover, 10, 16), 13)
        shadow = 0.26 * wide + 0.22 * soft_mask(_shifted(sheet.cover, 3, 5), 4)
    picture = picture * (1 - shadow)[..., None]
    return _image(_over(picture, sheet))


def _sweep(rng: np.random.Generator, *, standing: bool) -> Picture:
    tint = rgb(_SWEEPS[rng.integers(len(_SWEEPS))])
    x = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None]
    light = 1.02 - 0.035 * ((x + 0.25) ** 2 + (y + 0.35) ** 2)
    if standing:
        light = light - 0.035 / (1 + np.exp(-(y - 0.28) * 14))
    return tint * light.astype(np.float32)[..., None]


def _floor_shadow(cover: Plane) -> Plane:
    """A pool of shade under the lowest rows of the product."""
    rows = np.flatnonzero(cover.max(axis=1) > 0.5)
    if not len(rows):
        return np.zeros_like(cover)
    bottom = int(rows[-1])
    foot = cover[max(bottom - 60, 0) : bottom + 1].max(axis=0)
    pool = np.zeros_like(cover)
    pool[max(bottom - 14, 0) : min(bottom + 5, HEIGHT)] = foot
    broad = np.zeros_like(cover)
    broad[max(bottom - 24, 0) : min(bottom + 16, HEIGHT)] = foot
    return np.clip(0.42 * soft_mask(pool, 7) + 0.34 * soft_mask(broad, 24), 0, 0.7)


def _shifted(plane: Plane, x: int, y: int) -> Plane:
    return np.roll(plane, (y, x), axis=(0, 1))


def _over(picture: Picture, sheet: Sheet) -> Picture:
    return picture * (1 - sheet.cover)[..., None] + sheet.colour


def _image(picture: Picture) -> Image.Image:
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def seen_from(
    sheet: Sheet,
    *,
    roll_deg: float = 0,
    yaw_deg: float = 0,
    pitch_deg: float = 0,
    scale: float = 1,
    x: float = 0,
    y: float = 0,
) -> Sheet:
    """The flat sheet as a camera sees it that stands elsewhere. The shift is in units."""
    corners = np.array([(0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)], np.float64)
    middle = np.array([WIDTH / 2, HEIGHT / 2])
    roll, yaw, pitch = np.radians([roll_deg, yaw_deg, pitch_deg])
    flat = np.column_stack([(corners - middle) * scale, np.zeros(4)])
    turned = flat @ (_turn(roll, 0, 1) @ _turn(yaw, 0, 2) @ _turn(pitch, 1, 2)).T
    distance = 1500.0
    placed = turned[:, :2] * (distance / (distance + turned[:, 2:])) + middle + np.array([x, y]) * UNIT
    way = _homography(placed, corners)

    def warp(plane: Picture) -> Picture:
        image = Image.fromarray((np.clip(plane, 0, 1) * 255 + 0.5).astype(np.uint8))
        warped = image.transform(image.size, Image.Transform.PERSPECTIVE, way, Image.Resampling.BICUBIC)
        return np.asarray(warped).astype(np.float32) / 255

    return Sheet(warp(sheet.colour), warp(sheet.cover))


def _turn(angle: float, first: int, second: int) -> NDArray[np.float64]:
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def _homography(seen: NDArray[np.float64], flat: NDArray[np.float64]) -> tuple[float, ...]:
    """The eight numbers by which Pillow finds, for each place seen, the place on the sheet."""
    rows, values = [], []
    for (x, y), (u, v) in zip(seen, flat, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return tuple(float(number) for number in np.linalg.solve(np.array(rows), np.array(values)))


def phone_photo(sheet: Sheet, rng: np.random.Generator, *, background: str) -> Image.Image:
    """A hand-held photo: the product tilted and off centre, on a floor or a cloth, in a room's light."""
    side = rng.choice([-1.0, 1.0])
    product = seen_from(
        sheet,
        roll_deg=side * rng.uniform(5, 13),
        yaw_deg=rng.uniform(8, 22) * rng.choice([-1.0, 1.0]),
        pitch_deg=rng.uniform(8, 20),
        scale=rng.uniform(0.86, 0.98),
        x=rng.uniform(-5, 5),
        y=rng.uniform(-5, 5),
    )
    picture = _turned(BACKGROUNDS[background](rng), rng.uniform(-12, 12))
    shadow = 0.42 * soft_mask(_shifted(product.cover, 12, 15), 9) + 0.2 * soft_mask(product.cover, 16)
    picture = _over(picture * (1 - shadow)[..., None], product) * _room_light(rng)
    photo = _image(picture).filter(ImageFilter.GaussianBlur(rng.uniform(0.7, 1.1)))
    grain = rng.standard_normal((HEIGHT, WIDTH, 1), np.float32) * 0.016
    grain = grain + rng.standard_normal((HEIGHT, WIDTH, 3), np.float32) * 0.012
    return _image(np.asarray(photo).astype(np.float32) / 255 + grain)


def _turned(picture: Picture, angle_deg: float) -> Picture:
    image = _image(picture)
    wide = image.resize((int(WIDTH * 1.45), int(HEIGHT * 1.45)), Image.Resampling.BICUBIC)
    turned = wide.rotate(angle_deg, Image.Resampling.BICUBIC)
    left, top = (turned.width - WIDTH) // 2, (turned.height - HEIGHT) // 2
    return np.asarray(turned.crop((left, top, left + WIDTH, top + HEIGHT))).astype(np.float32) / 255


def _room_light(rng: np.random.Generator) -> Picture:
    """Warm or cold light that falls off to one side, and the soft edge of a shadow."""
    tint = np.array([(1.08, 1.0, 0.87), (0.95, 1.0, 1.08), (1.05, 1.0, 0.94)][rng.integers(3)], np.float32)
    x = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None]
    angle = rng.uniform(0, 2 * np.pi)
    across = np.cos(angle) * x + np.sin(angle) * y
    edge = 1 / (1 + np.exp(-(across - rng.uniform(0.55, 0.85)) * 9))
    light: Plane = 0.97 - 0.13 * across - 0.2 * edge
    return light.astype(np.float32)[..., None] * tint


def _noise(rng: np.random.Generator, across: int, down: int) -> Plane:
    return smooth_noise(rng, WIDTH, HEIGHT, across=across, down=down)


def _places() -> tuple[Plane, Plane]:
    x = np.arange(WIDTH, dtype=np.float32)[None, :] / UNIT
    return x, np.arange(HEIGHT, dtype=np.float32)[:, None] / UNIT


def _shaded(colour: str, light: Plane) -> Picture:
    return rgb(colour) * light[..., None].astype(np.float32)


def _wood(rng: np.random.Generator) -> Picture:
    x, _ = _places()
    board = np.floor(x / 17).astype(int)
    tone = rng.uniform(0.86, 1.08, board.max() + 1)[board]
    gap = np.clip(1 - np.minimum(np.mod(x, 17), 17 - np.mod(x, 17)) / 0.35, 0, 1)
    rings = np.sin(x * 1.9 + tone * 90 + 2.2 * _noise(rng, 5, 3))
    light = tone * (1 + 0.05 * rings + 0.05 * _noise(rng, 110, 5)) * (1 - 0.55 * gap)
    return _shaded(str(rng.choice(["#a9774a", "#c49a6c", "#7d5638"])), light)


def _linen(rng: np.random.Generator) -> Picture:
    weave = 0.05 * _noise(rng, 200, 8) + 0.05 * _noise(rng, 8, 250)
    folds = 0.10 * np.tanh(_noise(rng, 4, 2) * 1.4)
    return _shaded(str(rng.choice(["#c9b79c", "#8fa3ad", "#b58f86"])), 1 + weave + folds)


def _grass(rng: np.random.Generator) -> Picture:
    blades = 0.20 * _noise(rng, 130, 45) + 0.14 * _noise(rng, 60, 25) + 0.06 * _noise(rng, 5, 5)
    straw: Picture = np.clip(_noise(rng, 140, 40) - 0.9, 0, 1)[..., None]
    return _shaded("#5d8038", 0.92 + blades) + straw * (rgb("#b9b064") - rgb("#5d8038")) * 0.6


def _tiles(rng: np.random.Generator) -> Picture:
    x, y = _places()
    size = 26.0
    near = np.minimum(
        np.minimum(np.mod(x, size), size - np.mod(x, size)),
        np.minimum(np.mod(y, size), size - np.mod(y, size)),
    )
    grout = np.clip(1 - near / 0.5, 0, 1)
    light = 0.95 + 0.03 * _noise(rng, 9, 11) + 0.015 * _noise(rng, 120, 150)
    return _shaded(str(rng.choice(["#cfc8bd", "#9fa8a6"])), light * (1 - 0.28 * grout))


def _concrete(rng: np.random.Generator) -> Picture:
    light = 0.95 + 0.05 * _noise(rng, 6, 7) + 0.035 * _noise(rng, 40, 50) + 0.035 * _noise(rng, 200, 250)
    return _shaded("#a5a29d", light)


def _carpet(rng: np.random.Generator) -> Picture:
    light = 0.9 + 0.10 * _noise(rng, 170, 210) + 0.05 * _noise(rng, 12, 14)
    return _shaded(str(rng.choice(["#8b7f78", "#6d7787", "#a08b72"])), light)


BACKGROUNDS: dict[str, Callable[[np.random.Generator], Picture]] = {
    "wood": _wood,
    "linen": _linen,
    "grass": _grass,
    "tiles": _tiles,
    "concrete": _concrete,
    "carpet": _carpet,
}
