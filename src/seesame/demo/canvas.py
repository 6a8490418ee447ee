"""Draws products out of shaded parts on a transparent sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from seesame.demo.outlines import SHEET_W, Points
from seesame.demo.palette import rgb
from seesame.demo.patterns import PATTERNS, Plane

WIDTH, HEIGHT = 512, 640
UNIT = WIDTH / SHEET_W  # pixels a unit
Picture = NDArray[np.floating[Any]]

_SMOOTH = 3  # edges are drawn this many times larger
_COARSE = 4  # shading is worked out this many times smaller
_LIGHT = (-0.55, -0.75)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One piece of a product: what it covers and how light falls on it. Lengths are in units."""

    outline: Points
    ink: str = "main"  # "main", "second", "trim", or a colour
    tone: float = 1.0
    puff: float = 5.0
    folds: float = 1.0
    gloss: float = 0.0
    patterned: bool = True
    turn_deg: float = 0.0
    wrap: bool = False  # the pattern runs round a cylinder
    pleats: float = 0.0
    hole: Points | None = None
    seams: tuple[Points, ...] = ()
    stitches: tuple[Points, ...] = ()
    cast: float = 0.35
    opacity: float = 1.0


@dataclass(frozen=True)
class Paint:
    """The colours and the pattern of one product."""

    main: str
    second: str
    trim: str
    pattern: str

    def colour(self, ink: str) -> str:
        """The colour that an ink stands for."""
        return {"main": self.main, "second": self.second, "trim": self.trim}.get(ink, ink)


@dataclass(frozen=True)
class Sheet:
    """A drawn product: colour (HEIGHT, WIDTH, 3) and coverage (HEIGHT, WIDTH), 0 to 1."""

    colour: Picture
    cover: Plane


def draw(parts: Sequence[Part], paint: Paint, rng: np.random.Generator) -> Sheet:
    """The parts painted one over another."""
    sheet = Sheet(np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH), np.float32))
    for part in parts:
        _paint_part(sheet, part, paint, rng)
    return sheet


def smooth_noise(rng: np.random.Generator, width: int, height: int, *, across: int, down: int) -> Plane:
    """Soft noise about 0 with the given number of swells across and down."""
    grid = rng.standard_normal((down + 3, across + 3)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def soft_mask(cover: Plane, radius: float) -> Plane:
    """The coverage blurred, worked out small and enlarged: cheap at any radius in pixels."""
    height, width = cover.shape
    return _enlarge(_blurred(_shrink(cover), max(radius / _COARSE, 0.6)), width, height)


def _shrink(plane: Plane) -> Plane:
    height, width = plane.shape
    size = (max(width // _COARSE, 2), max(height // _COARSE, 2))
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BOX))


def _enlarge(plane: Plane, width: int, height: int) -> Plane:
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC))


def _blurred(plane: Plane, sigma: float) -> Plane:
    """The plane under a Gaussian; what leaves its edges is lost."""
    reach = int(3 * sigma) + 1
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma * sigma))
    weights = (weights / weights.sum()).astype(np.float32)
    for _ in range(2):  # down, then across; plain slices, since a matrix product would wake every core
        rows = plane.shape[0]
        padded = np.pad(plane, ((reach, reach), (0, 0)))
        plane = np.zeros_like(plane)
        for place, weight in enumerate(weights):
            plane += weight * padded[place : place + rows]
        plane = np.ascontiguousarray(plane.T)
    return plane


def _paint_part(sheet: Sheet, part: Part, paint: Paint, rng: np.random.Generator) -> None:
    pixels = part.outline * UNIT
    pad = int(part.puff * UNIT) + 12
    left, top = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - pad, 0)
    right, bottom = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + pad, (WIDTH, HEIGHT))
    if right - left < 8 or bottom - top < 8:
        return
    window = np.s_[top:bottom, left:right]
    size = (int(right - left), int(bottom - top))
    corner = np.array([left, top]) / UNIT
    mask = _mask(part, corner, size)
    colour, cover = sheet.colour[window], sheet.cover[window]
    shadow = np.roll(soft_mask(mask, 5), 3, axis=0)
    colour *= (1 - part.cast * shadow)[..., None]
    light, shine, bend = _relief(mask, part, rng)
    surface = _surface(part, paint, corner, size, bend)
    surface = surface * light[..., None] + shine[..., None]
    _draw_lines(surface, part, corner, size)
    share = (mask * part.opacity)[..., None]
    colour *= 1 - share
    colour += np.clip(surface, 0, 1) * share
    cover += mask * part.opacity * (1 - cover)


def _mask(part: Part, corner: Points, size: tuple[int, int]) -> Plane:
    image = Image.new("L", (size[0] * _SMOOTH, size[1] * _SMOOTH))
    pen = ImageDraw.Draw(image)
    pen.polygon(_place(part.outline, corner), fill=255)
    if part.hole is not None:
        pen.polygon(_place(part.hole, corner), fill=0)
    return np.asarray(image.reduce(_SMOOTH)).astype(np.float32) / 255


def _place(points: Points, corner: Points) -> list[tuple[float, float]]:
    placed = (points - corner) * (UNIT * _SMOOTH)
    return [(float(x), float(y)) for x, y in placed]


def _relief(mask: Plane, part: Part, rng: np.random.Generator) -> tuple[Plane, Plane, Plane]:
    """The light on a part, its highlight, and how far its folds push the pattern (units)."""
    height, width = mask.shape
    small = _shrink(mask)
    rows, columns = small.shape
    sigma = max(part.puff * UNIT / _COARSE, 0.6)
    dome = np.sqrt(np.clip(1.7 * _blurred(small, sigma) - 0.3, 0.01, 1.4))
    long, wide = max(rows // 42, 1), max(columns // 8, 1)
    creases = smooth_noise(rng, columns, rows, across=wide, down=long)
    swells = smooth_noise(rng, columns, rows, across=2, down=3)
    surface = dome * sigma * 1.1 + part.folds * (0.42 * creases + 0.8 * swells)
    if part.pleats:
        surface = surface + _pleats(small, part.pleats)
    down, across = np.gradient(surface)
    slope = across * _LIGHT[0] + down * _LIGHT[1]
    light = 1.0 - 0.02 * part.folds * creases + 0.42 * np.tanh(-0.9 * slope)
    light = light * (0.86 + 0.14 * np.clip(dome, 0, 1))
    shine = part.gloss * np.clip(-slope * 1.2 - 0.28, 0, 1) ** 2 * 2.2
    edge = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2.2))
    rim = np.clip(np.asarray(edge).astype(np.float32) / 127.5 - 1, 0, 1)
    full = _enlarge(light.astype(np.float32), width, height) * (0.80 + 0.20 * rim)
    bend = _enlarge((part.folds * 0.34 * creases).astype(np.float32), width, height)
    return full, _enlarge(shine.astype(np.float32), width, height), bend


def _span(mask: Plane) -> Plane:
    """Where each place lies between its row's left edge (0) and right edge (1)."""
    inside = mask > 0.5
    width = mask.shape[1]
    first = np.where(inside.any(axis=1), inside.argmax(axis=1), 0)
    last = np.where(inside.any(axis=1), width - inside[:, ::-1].argmax(axis=1), width)
    span = (np.arange(width) - first[:, None]) / np.maximum(last - first, 1)[:, None]
    clipped: Plane = np.clip(span, 0, 1).astype(np.float32)
    return clipped


def _pleats(mask: Plane, count: float) -> Plane:
    rows = mask.shape[0]
    depth = np.linspace(0.3, 1.0, rows)[:, None]
    waves: Plane = 1.5 * depth * np.sin(_span(mask) * count * 2 * np.pi + 0.6)
    return waves.astype(np.float32)


def _surface(part: Part, paint: Paint, corner: Points, size: tuple[int, int], bend: Plane) -> Picture:
    """The part's own colour at each pixel, before light."""
    base = rgb(paint.colour(part.ink)) * np.float32(part.tone)
    if part.ink != "main" or not part.patterned or paint.pattern == "plain":
        return np.broadcast_to(base, (size[1], size[0], 3))
    x = np.arange(size[0], dtype=np.float32)[None, :] / UNIT + corner[0]
    y = np.arange(size[1], dtype=np.float32)[:, None] / UNIT + corner[1]
    if part.wrap:
        left, right = part.outline[:, 0].min(), part.outline[:, 0].max()
        radius = (right - left) / 2
        x = left + radius * (1 + np.arcsin(np.clip((x - left) / radius - 1, -0.99, 0.99)))
    if part.turn_deg:
        angle, pivot = np.radians(part.turn_deg), part.outline.mean(axis=0)
        across, down = x - pivot[0], y - pivot[1]
        x = np.cos(angle) * across + np.sin(angle) * down + pivot[0]
        y = np.cos(angle) * down - np.sin(angle) * across + pivot[1]
    share = PATTERNS[paint.pattern]((x + bend).astype(np.float32), (y + bend).astype(np.float32))
    second = rgb(paint.second) * np.float32(part.tone)
    return base + (second - base) * share.astype(np.float32)[..., None]


def _draw_lines(surface: Picture, part: Part, corner: Points, size: tuple[int, int]) -> None:
    """Seams as a groove with a lit lip, stitches as light dashes."""
    if part.seams:
        groove = _strokes(part.seams, corner, size, width=0.55)
        surface *= (1 - 0.38 * groove)[..., None]
        lip = np.roll(groove, 2, axis=0) * (1 - groove)
        surface += 0.10 * lip[..., None]
    if part.stitches:
        dashes = [piece for line in part.stitches for piece in _dashes(line)]
        thread = _strokes(dashes, corner, size, width=0.42)
        bright = surface.mean() < 0.78
        surface *= (1 - (0.15 if bright else 0.32) * thread)[..., None]
        surface += (0.26 if bright else 0.0) * thread[..., None]


def _strokes(lines: Sequence[Points], corner: Points, size: tuple[int, int], *, width: float) -> Plane:
    image = Image.new("L", (size[0] * 2, size[1] * 2))
    pen = ImageDraw.Draw(image)
    for line in lines:
        placed = (line - corner) * (UNIT * 2)
        pen.line([(float(x), float(y)) for x, y in placed], fill=255, width=round(width * UNIT * 2), joint="curve")
    return np.asarray(image.reduce(2)).astype(np.float32) / 255


def _dashes(line: Points, on: float = 1.0, off: float = 0.7) -> list[Points]:
    """The line cut into dashes, lengths in units."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    length = np.concatenate([[0], np.cumsum(steps)])
    starts = np.arange(0, length[-1] - on, on + off)
    ends = [np.array([start, start + on]) for start in starts]
    return [np.column_stack([np.interp(e, length, line[:, i]) for i in (0, 1)]) for e in ends]
