"""The parts of hats, bags, glasses, watches, umbrellas and mugs."""

from dataclasses import replace

import numpy as np

from seesame.demo.canvas import Part
from seesame.demo.outlines import Points, box, ellipse, mirrored, moved, path, ribbon, symmetric

_GOLD = "#d3b26a"
_STEEL = "#c3c7cc"


def _metal(outline: Points, *, hole: Points | None = None, ink: str = _GOLD) -> Part:
    return Part(outline=outline, hole=hole, ink=ink, puff=0.9, folds=0, gloss=0.9, cast=0.45)


def cap(*, front: str = "plain") -> list[Part]:
    """A cap with a curved peak, three quarters from the front."""
    dome = path("M20 76 C18 48 34 31 54 31 C76 31 87 50 86 78 C66 70 40 69 20 76 Z")
    panel = path("M20 76 C18 52 28 38 42 33 C34 46 33 60 36 71 Z")
    peak = path("M20 75 C34 67 66 68 86 77 C84 84 76 90 66 91 C44 96 18 96 7 91 C6 85 12 79 20 75 Z")
    seams = (
        path("M54 31 C48 44 47 58 49 70"),
        path("M54 31 C66 42 71 58 72 72"),
        path("M54 31 C36 42 32 58 33 72"),
    )
    edge = path("M9 89.6 C24 93.6 48 93 66 88.4")
    parts = [
        Part(outline=dome, puff=8, folds=0.6, seams=seams),
        Part(outline=ellipse(54, 31, 2.6, 1.8), tone=0.9, puff=1, folds=0, patterned=False),
        Part(outline=peak, ink="second", puff=4, folds=0.2, cast=0.5, stitches=(edge, moved(edge, y=-3))),
    ]
    if front == "badge":
        parts.append(Part(outline=ellipse(51, 54, 9, 9), ink="trim", puff=1, folds=0, cast=0.25))
        parts.append(
            Part(
                outline=path("M44 58 L49.6 48 L53 54 L55 51 L59 58 Z"),
                ink="second",
                puff=0.8,
                folds=0,
                cast=0.1,
            )
        )
    if front == "mesh":
        parts.insert(1, Part(outline=panel, ink="second", puff=5, folds=0.2, cast=0.1))
    return parts


_BRIMS = {"wide": (45.0, 14.0, 80.0), "medium": (39.0, 11.0, 80.0), "narrow": (33.0, 9.0, 80.0)}


def brimmed_hat(*, brim: str = "wide", crown: str = "round") -> list[Part]:
    """A hat with a brim all round and a ribbon."""
    wide, deep, y = _BRIMS[brim]
    tops = {
        "round": "M50 36 C66 36 74 48 75 64 L76 80 Q66 85 50 85",
        "pinched": "M50 41 C55 36 62 34 67 38 C72 46 73.4 62 75 80 Q66 85 50 85",
        "flat": "M50 42 L66 42 C71 42 72 45 72.6 50 L75 80 Q66 85 50 85",
    }
    band = symmetric("M50 75 Q66 75 75.4 70 L76.2 79.6 Q66 85.4 50 85.4")
    return [
        Part(outline=ellipse(50, y, wide, deep), puff=6, folds=0.8),
        Part(outline=ellipse(50, y + 0.6, 28, 6.6), tone=0.75, puff=3, folds=0, cast=0),
        Part(outline=symmetric(tops[crown]), puff=8, folds=0.7, cast=0.4),
        Part(outline=band, ink="second", puff=2, folds=0.2, cast=0.35),
        Part(
            outline=path("M68 73 L75 69.6 L75.6 80 L68.6 83 Z"),
            ink="second",
            tone=0.9,
            puff=1.4,
            folds=0,
            cast=0.35,
        ),
    ]


def beanie(*, bobble: bool = True) -> list[Part]:
    """A knitted hat with a folded edge."""
    dome = symmetric("M50 33 C70 33 80 50 80 76 L50 80")
    fold = symmetric("M50 71 Q70 71 82 68 Q85 76 83 91 Q70 95 50 95")
    parts = [
        Part(outline=dome, puff=9, folds=0.5, pleats=11),
        Part(outline=fold, puff=4, folds=0.2, pleats=14, patterned=False, tone=0.95, cast=0.4),
    ]
    if bobble:
        turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        radius = 11.5 + 0.9 * np.sin(turn * 23) + 0.6 * np.sin(turn * 41)
        fluff = np.column_stack([50 + radius * np.cos(turn), 25 + radius * np.sin(turn)])
        parts.append(Part(outline=fluff, ink="second", puff=6, folds=2.2, cast=0.4))
    return parts


def handbag(*, shape: str = "tote") -> list[Part]:
    """A handbag with its handles up."""
    body, handle = (path(text) for text in _BAGS[shape])
    whole = np.concatenate([body, mirrored(body)])
    arch = np.concatenate([mirrored(handle), handle[1:]])
    back = Part(outline=ribbon(moved(arch, y=-3), 3), ink="trim", tone=0.72, puff=1.2, folds=0, gloss=0.2)
    parts = [
        back,
        Part(outline=whole, puff=7, folds=0.7, gloss=0.22, stitches=(moved(whole, scale=0.94, y=1.6),)),
    ]
    if shape in ("satchel", "shoulder"):
        parts += _flap(shape)
    if shape == "bucket":
        parts.append(Part(outline=box(27, 58, 73, 62, 1.5), ink="trim", puff=1, folds=0, cast=0.4))
        parts.append(Part(outline=ellipse(50, 65, 2.4, 4.4), ink="trim", puff=1.4, folds=0, cast=0.5))
    parts.append(Part(outline=ribbon(arch, 3.2), ink="trim", puff=1.3, folds=0, gloss=0.3, cast=0.4))
    for x, y in (handle[-1], mirrored(handle)[0]):
        parts.append(
            Part(
                outline=box(x - 2.6, y - 2, x + 2.6, y + 9, 2),
                ink="trim",
                puff=1.2,
                folds=0,
                gloss=0.2,
                cast=0.4,
            )
        )
        parts.append(_metal(ellipse(x, y, 3, 3), hole=ellipse(x, y, 1.8, 1.8)))
    return parts


_BAGS = {
    "tote": ("M50 50 L81 50 L87 109 Q70 112 50 112", "M50 14 C61 14 66 26 67 52"),
    "satchel": ("M50 52 L82 52 Q86 53 86.6 58 L89 100 Q89 107 83 107.6 L50 108", "M50 27 C62 27 66 33 67 50"),
    "shoulder": (
        "M50 60 C66 60 76 57 84 54 C90 66 92 84 84 98 C76 108 62 109 50 109",
        "M50 10 C72 10 82 30 82 57",
    ),
    "bucket": ("M50 55 L75 55 L83 102 Q82 110 72 111 L50 111.6", "M50 15 C64 15 72 34 73 57"),
    "bowling": ("M50 53 C70 53 80 60 86 76 L90 103 Q89 109 82 109 L50 109.6", "M50 25 C62 25 67 36 68 58"),
}


def _flap(shape: str) -> list[Part]:
    if shape == "satchel":
        flap = symmetric("M50 50.6 L83 50.6 L85.4 74 C84 84 70 88 50 88")
        lock = [
            _metal(box(45, 83, 55, 93, 1.6)),
            Part(outline=ellipse(50, 88, 1.5, 1.5), ink="#7a6130", puff=0.5, folds=0),
        ]
    else:
        flap = symmetric("M50 58.6 C66 58.6 76 56 84.6 52.6 C87 66 80 80 50 88")
        lock = [_metal(ellipse(50, 86, 4.4, 4.4), hole=ellipse(50, 86, 2.2, 2.2))]
    return [
        Part(outline=flap, puff=4, folds=0.4, gloss=0.25, cast=0.5, stitches=(moved(flap, scale=0.95, y=0.4),)),
        *lock,
    ]


def backpack(*, shape: str = "round", front: str = "pocket") -> list[Part]:
    """A backpack from the front."""
    top = {
        "round": "M50 22 C72 22 82 32 83 50",
        "square": "M50 24 L74 24 Q82 25 83 34",
        "roll": "M50 20 L78 20 Q80 28 81 34",
    }[shape]
    body = symmetric(f"{top} L86 100 Q86 112 76 112.6 L50 113")
    handle = path("M41 23 C41 10 59 10 59 23")
    strap = path("M82 42 C93 50 95 84 87 104")
    parts = [
        Part(outline=ribbon(side, 5), ink="trim", tone=0.85, puff=1.8, folds=0.3) for side in (strap, mirrored(strap))
    ]
    parts += [
        Part(outline=ribbon(handle, 3.2), ink="trim", puff=1.3, folds=0),
        Part(outline=body, puff=9, folds=1.0),
    ]
    if shape == "roll":
        parts.append(Part(outline=box(20, 17, 80, 30, 5), tone=0.97, puff=4, folds=0.6, cast=0.5))
    else:
        zip_line = path("M18 58 C20 32 32 30 50 30 C68 30 80 32 82 58")
        parts.append(Part(outline=ribbon(zip_line, 1.5), ink="#44454b", puff=0.5, folds=0, cast=0.2))
    return parts + _pack_front(front)


def _pack_front(front: str) -> list[Part]:
    pocket = symmetric("M50 68 L70 68 Q76 69 76.6 76 L78 100 Q77 107 70 107.4 L50 107.6")
    parts = [Part(outline=pocket, ink="second", puff=5, folds=0.8, cast=0.5)]
    if front == "pocket":
        parts.append(
            Part(outline=ribbon(path("M27 76 Q50 73.4 73 76"), 1.6), ink="#44454b", puff=0.5, folds=0, cast=0.2)
        )
        parts.append(_metal(box(69, 75, 71, 83, 0.9), ink=_STEEL))
        parts.append(Part(outline=box(43, 46, 57, 55, 1.4), ink="trim", puff=0.8, folds=0, cast=0.35))
    else:
        flap = symmetric("M50 40 L78 40 C80 52 79 60 76 66 Q64 72 50 72")
        parts.append(Part(outline=flap, puff=4.5, folds=0.7, cast=0.5))
        for x in (36.0, 64.0):
            parts.append(Part(outline=box(x - 2.4, 50, x + 2.4, 86, 1.2), ink="trim", puff=1.1, folds=0, cast=0.45))
            parts.append(_metal(box(x - 3.4, 75, x + 3.4, 83, 1), hole=box(x - 2, 76.6, x + 2, 81.4, 0.5)))
    return parts


_CUPS = {
    "straight": "M50 40 L76 40 L76 96 Q75.6 104 66 105.4 Q58 106.6 50 106.6",
    "tapered": "M50 40 L78 40 C77.6 66 74 88 70 100 Q67 106.6 50 106.6",
    "round": "M50 44 L73 44 C81 56 82 78 76 92 Q70 106 50 106",
    "tall": "M50 26 L71 26 L71 99 Q70.6 106 62 107 L50 107.6",
}


def mug(*, cup: str = "straight", inside: str = "second") -> list[Part]:
    """A mug with its handle on the right."""
    wall = symmetric(_CUPS[cup])
    wide = float(wall[:, 0].max()) - 50
    half = path(_CUPS[cup])
    rim_x, rim_y = half[1] - np.array([50.0, 0.0])
    low = 84.0 if cup != "round" else 88.0
    handle = path(f"M{46 + wide} {rim_y + 10} C{70 + wide} {rim_y + 4} {68 + wide} {low} {43 + wide} {low}")
    shift = -6.0
    parts = [
        Part(outline=ribbon(handle, 6), puff=2.6, folds=0, gloss=0.7, patterned=False),
        Part(outline=wall, puff=13, folds=0, gloss=0.8, wrap=True, cast=0.45),
        Part(
            outline=ellipse(50, rim_y, rim_x, rim_x * 0.2),
            tone=1.04,
            puff=1,
            folds=0,
            patterned=False,
            cast=0,
        ),
        Part(
            outline=ellipse(50, rim_y + 0.3, rim_x - 1.7, rim_x * 0.2 - 1.3),
            ink=inside,
            tone=0.8,
            puff=4,
            folds=0,
            patterned=False,
            cast=0.1,
        ),
    ]
    return [_shift(part, shift) for part in parts]


def _shift(part: Part, x: float) -> Part:
    return replace(part, outline=moved(part.outline, x=x))


_LENSES = {
    "round": "M9 60 C9 44 44 44 44 60 C44 77 9 77 9 60 Z",
    "aviator": "M8 53 C12 49 38 49 44 53 C46 62 42 78 30 79 C16 80 8 66 8 53 Z",
    "square": "M7 53 Q7 49.6 11 49.6 L41 49.6 Q45 49.6 45 53 L44 70 Q43 75 38 75 L13 75 Q9 75 8 70 Z",
    "cat-eye": "M4 46 C16 50 36 50 45 54 C46 66 40 76 28 76 C14 76 8 62 4 46 Z",
    "oversized": "M5 56 C5 44 18 43 28 43 C40 43 46 48 46 58 C46 74 38 83 26 83 C12 83 5 72 5 56 Z",
}


def sunglasses(*, lens: str = "round") -> list[Part]:
    """Sunglasses from the front, a little from above."""
    left = path(_LENSES[lens])
    middle = (left.min(axis=0) + left.max(axis=0)) / 2
    inner = (left - middle) * (0.86, 0.84) + middle
    frame = 2.0 if lens != "aviator" else 0.9
    bridge = path("M43 55 Q50 50.6 57 55")
    temple = path("M9.5 58 C7.5 44 13 34 23 27")
    parts = [
        Part(outline=ribbon(side, 3.4, 2.2), puff=1, folds=0, gloss=0.6, tone=0.85)
        for side in (temple, mirrored(temple))
    ]
    parts.append(Part(outline=ribbon(bridge, 3 if frame > 1 else 1.8), puff=1, folds=0, gloss=0.8))
    if lens == "aviator":
        parts.append(Part(outline=ribbon(path("M40 50.6 Q50 48 60 50.6"), 1.6), puff=0.8, folds=0, gloss=0.8))
        inner = (left - middle) * 0.93 + middle
    for outline, glass in ((left, inner), (mirrored(left), mirrored(inner))):
        shine = (glass - glass.mean(axis=0)) * (0.22, 0.7) @ np.array([[0.9, -0.45], [0.45, 0.9]]) + glass.mean(axis=0)
        parts += [
            Part(outline=glass, ink="second", puff=10, folds=0, gloss=0.5, opacity=0.9, cast=0),
            Part(outline=moved(shine, x=-4, y=-1), ink="#ffffff", puff=3, folds=0, opacity=0.13, cast=0),
            Part(outline=outline, hole=glass, puff=frame, folds=0, gloss=0.9, cast=0.3),
        ]
    return parts


def watch(*, case: str = "round", face: str = "plain", strap: str = "leather") -> list[Part]:
    """A wrist watch laid flat."""
    band = symmetric("M50 6 L58 6 Q60 6.4 60.4 9 L64 44 L64 81 L60.4 115 Q60 118 57 118.6 L50 119")
    links = tuple(path(f"M36 {y} Q50 {y + 1.2} 64 {y}") for y in range(12, 116, 5)) if strap == "link" else ()
    edge = path("M57.6 10 L61 44 M61 44 L61 81 L57.6 114") if strap == "leather" else path("M50 6 L50 7")
    stitches = (edge, mirrored(edge)) if strap == "leather" else ()
    shape = ellipse(50, 62.5, 27, 27) if case == "round" else box(25, 37, 75, 88, 9)
    bezel = moved(shape, scale=0.92)
    dial = moved(shape, scale=0.82)
    parts = [
        Part(
            outline=band,
            puff=4,
            folds=0.2,
            gloss=0.9 if strap == "link" else 0.15,
            seams=links,
            stitches=stitches,
        ),
        Part(outline=box(76, 59, 81, 66, 1.4), ink="trim", puff=1.2, folds=0, gloss=0.8),
        Part(outline=shape, ink="trim", puff=3, folds=0, gloss=1.0, cast=0.45),
        Part(outline=bezel, ink="trim", tone=0.82, puff=1.2, folds=0, gloss=0.8, cast=0.1),
        Part(outline=dial, ink="second", puff=8, folds=0, gloss=0.15, cast=0.3),
    ]
    return parts + _dial_marks(face) + _hands()


def _dial_marks(face: str) -> list[Part]:
    marks = []
    for hour in range(12):
        long = 3.6 if hour % 3 == 0 else 2.0
        bar = box(49.3, 43.6, 50.7, 43.6 + long, 0.3)
        marks.append(Part(outline=moved(bar, turn_deg=-30 * hour), ink="trim", puff=0.4, folds=0, cast=0.15))
    if face == "chronograph":
        for x, y in ((41.5, 62.5), (58.5, 62.5), (50, 73)):
            marks.append(Part(outline=ellipse(x, y, 4.8, 4.8), ink="second", tone=0.8, puff=1, folds=0, cast=0.1))
            marks.append(Part(outline=box(x - 0.3, y - 3.6, x + 0.3, y, 0.1), ink="trim", puff=0.3, folds=0, cast=0))
    return marks


def _hands() -> list[Part]:
    hour = moved(box(49, 51, 51, 64, 0.6), turn_deg=58)
    minute = moved(box(49.3, 45.5, 50.7, 64.5, 0.5), turn_deg=-58)
    hands = [Part(outline=hand, ink="trim", puff=0.5, folds=0, gloss=0.4, cast=0.5) for hand in (hour, minute)]
    second = Part(
        outline=moved(box(49.7, 45, 50.3, 67, 0.1), turn_deg=-170), ink="#d8452f", puff=0.3, folds=0, cast=0.3
    )
    return [*hands, second, _metal(ellipse(50, 62.5, 1.4, 1.4))]


_CANOPIES = {"classic": (15.0, 68.0, 46.0), "dome": (12.0, 76.0, 40.0), "wide": (22.0, 64.0, 48.0)}


def umbrella(*, canopy: str = "classic", handle: str = "crook", edge: str = "plain") -> list[Part]:
    """An open umbrella, tilted."""
    top, low, wide = _CANOPIES[canopy]
    stops = np.array([-1.0, -0.62, -0.22, 0.22, 0.62, 1.0]) * wide + 50
    arch = path(
        f"M{50 - wide} {low} C{50 - wide * 0.9} {top + 6} {50 - wide * 0.4} {top} 50 {top}"
        f" C{50 + wide * 0.4} {top} {50 + wide * 0.9} {top + 6} {50 + wide} {low}"
    )
    scallops = [
        path(f"M{a} {low} Q{(a + b) / 2} {low - 7} {b} {low}")
        for a, b in zip(stops[::-1][:-1], stops[::-1][1:], strict=True)
    ]
    bottom = np.concatenate([scallop[1:] for scallop in scallops])
    ribs = tuple(path(f"M50 {top} Q{50 + (x - 50) * 0.9} {top + (low - top) * 0.35} {x} {low}") for x in stops[1:-1])
    stick_end = 116.0 if handle == "straight" else 108.0
    parts = [
        Part(
            outline=path(f"M{50 - wide} {low} Q50 {low - 16} {50 + wide} {low} Q50 {low + 9} {50 - wide} {low} Z"),
            tone=0.55,
            puff=4,
            folds=0,
            patterned=False,
        ),
        _metal(box(49, low - 10, 51, stick_end, 0.5), ink=_STEEL),
        Part(outline=_grip(handle), ink="trim", puff=1.6, folds=0, gloss=0.5),
        _metal(box(49.2, top - 7, 50.8, top + 2, 0.7), ink=_STEEL),
        Part(outline=np.concatenate([arch, bottom]), puff=10, folds=0.3, gloss=0.15, seams=ribs, cast=0.4),
    ]
    if edge == "bordered":
        border = np.concatenate([bottom, moved(bottom, y=-4.5)[::-1]])
        parts.append(Part(outline=border, ink="second", puff=1.5, folds=0, cast=0))
    return [_tilt(part) for part in parts]


def _grip(kind: str) -> Points:
    if kind == "straight":
        return box(47.4, 98, 52.6, 119, 2.4)
    return ribbon(path("M50 96 L50 108 C50 121 34 121 34 109"), 4.2)


def _tilt(part: Part) -> Part:
    return replace(
        part,
        outline=moved(part.outline, turn_deg=-14, scale=0.94),
        seams=tuple(moved(seam, turn_deg=-14, scale=0.94) for seam in part.seams),
        turn_deg=-14,
    )
