"""The parts of clothes, laid flat and seen from the front."""

import numpy as np

from seesame.demo.canvas import Part
from seesame.demo.outlines import Points, box, ellipse, mirrored, path, ribbon, symmetric

_NECKS = {
    "round": "M50 31 Q57.5 31 60.5 21.5",
    "v": "M50 41 L60.5 21.5",
    "scoop": "M50 40 Q60 39 62.5 22",
}


def t_shirt(*, neck: str = "round", sleeve: str = "short", hem: float = 104) -> list[Part]:
    """A T-shirt with its sleeves spread."""
    edge = path(_NECKS[neck])
    body = path(f"M73.5 25.5 Q70.5 38 73 50 C72.5 70 72.5 88 74 {hem} Q62 {hem + 2.2} 50 {hem + 2.2}")
    whole = _joined(edge, body)
    collar = _joined_line(edge)
    sleeves = _sleeves(sleeve)
    hem_stitch = path(f"M26.8 {hem - 3} Q50 {hem - 0.6} 73.2 {hem - 3}")
    return [
        Part(outline=_inside_neck(), tone=0.62, puff=2, folds=0, patterned=False),
        *sleeves,
        Part(outline=whole, puff=5, folds=1.3, cast=0.22, stitches=(hem_stitch,)),
        Part(outline=ribbon(collar, 2.6), tone=0.94, puff=1.2, folds=0, patterned=False, cast=0.25),
    ]


def _joined(edge: Points, side: Points) -> Points:
    half = np.concatenate([edge, side])
    return np.concatenate([half, mirrored(half)])


def _joined_line(edge: Points) -> Points:
    return np.concatenate([mirrored(edge), edge[1:]])


def _inside_neck() -> Points:
    return symmetric("M50 20.8 Q56 20.8 60.5 20 L62.5 24 L58 40 L50 43")


_SLEEVES = {
    "cap": ("M71.5 24.6 C76 26.5 81 33 83.5 40.5 Q78 44.5 72 46 Z", "M82.4 38.4 Q76 42.6 71.6 43.6"),
    "short": ("M71.5 24.6 C78 27 84 36 91 50.5 Q85 55.5 78.6 57.8 Q74 52 71 49 Z", "M89.4 48 Q83 53 77 55.4"),
    "long": (
        "M71.5 24.6 C79 27 82 36 85 50 C88 66 90 80 92 95 Q87.5 97.4 83 97 C80.5 82 77 68 71.5 53 Z",
        "M91.4 92 Q87 94.4 82.4 93.8",
    ),
}


def _sleeves(length: str) -> list[Part]:
    outline, stitch = (path(text) for text in _SLEEVES[length])
    right = Part(outline=outline, puff=4, turn_deg=32, stitches=(stitch,))
    left = Part(outline=mirrored(outline), puff=4, turn_deg=-32, stitches=(mirrored(stitch),))
    return [right, left]


def hoodie(*, closing: str = "pullover", pocket: bool = True) -> list[Part]:
    """A hooded sweatshirt, with a kangaroo pocket or a zip."""
    sleeve = path("M69 30 C78 31 83 40 86 53 C89 68 91 80 92.5 94 L83 96 C80 82 77 70 70.5 58 Z")
    cuff = path("M82.6 94.2 L92.6 92.4 Q94 97 93 102 Q88.5 104 84 103.4 Q83 99 82.6 94.2")
    body = symmetric("M50 34 Q58 34 63 27.5 L72.5 31 Q70 45 73 58 C73.5 75 73.5 88 74 98 Q62 100 50 100")
    hem = symmetric("M50 98.6 Q62 98.6 73.6 97 Q74.6 101 72.6 106 Q61 107.6 50 107.6")
    hood = symmetric("M50 9 C61 9 68.5 16 68 29 C66 36 57 40.5 50 41.5")
    opening = symmetric("M50 14.5 C57.5 14.5 62 20 61 27.5 Q58 35.5 50 39")
    cord = path("M56.5 36.5 Q57.6 44 56.8 52")
    parts = [
        Part(outline=side, puff=4.5, folds=1.6, turn_deg=turn) for side, turn in ((sleeve, 16), (mirrored(sleeve), -16))
    ]
    parts += [_ribbed(cuff), _ribbed(mirrored(cuff))]
    parts += [Part(outline=body, puff=6, folds=1.6, cast=0.28), _ribbed(hem)]
    if pocket:
        bag = symmetric("M50 72 L61.5 72 Q64 79 69 84.5 L69 96.5 L50 96.8")
        edges = (path("M61.2 73 Q63.5 80 68.4 85"), path("M38.8 73 Q36.5 80 31.6 85"))
        parts.append(Part(outline=bag, puff=2.5, folds=1.2, cast=0.4, stitches=edges))
    if closing == "zip":
        parts.append(Part(outline=box(49, 38, 51, 107, 0.6), ink="#c3c6ca", puff=0.8, folds=0, gloss=0.5, cast=0.5))
    parts += [
        Part(outline=hood, puff=5, folds=1.2, cast=0.45, patterned=False),
        Part(outline=opening, tone=0.5, puff=3, folds=0.5, patterned=False, cast=0.2),
    ]
    for line in (cord, mirrored(cord)):
        parts.append(Part(outline=ribbon(line, 1.3), ink="trim", puff=0.6, folds=0, cast=0.5))
    return parts


def _ribbed(outline: Points) -> Part:
    return Part(outline=outline, tone=0.9, puff=2, folds=0.2, pleats=9, patterned=False, cast=0.25)


_BODICES = {
    "straps": "M50 25 Q57 25.5 60.5 20.5 L60.5 9 L62.6 9 L63.4 20.5 Q66 29 65 31 Q62.5 40 61.5 50 L50 50",
    "sleeveless": "M50 25 Q57 24 59.5 11 L67 13 Q63.6 23 66.6 31 Q63 40 61.5 50 L50 50",
    "v": "M50 33 L59 11.5 L67 13 Q63.6 23 66.6 31 Q63 40 61.5 50 L50 50",
    "bandeau": "M50 22 Q58 18 65 22 Q65.5 30 64.5 33 Q62.5 42 61.5 50 L50 50",
}
_SKIRTS = {
    "flared": ("M50 49 L61.6 49 C68 62 78 82 85 104 Q80 107.5 73 106 Q66 111 58 108 Q54 110.5 50 110", 5),
    "maxi": ("M50 49 L61.6 49 C67 70 74 95 79 119 Q73 121.5 67 120 Q60 122.5 50 121", 4),
    "short": ("M50 49 L61.6 49 C70 58 79 70 85 86 Q79 90 72 88 Q65 92.5 58 90 Q54 92 50 91.5", 6),
    "pencil": ("M50 49 L61.6 49 C67 57 69 65 68 75 C67 87 65.5 96 65 104 Q58 105.4 50 105.4", 0),
}


def dress(*, bodice: str = "sleeveless", skirt: str = "flared", sleeve: str = "") -> list[Part]:
    """A dress: a bodice, a waistband and a skirt."""
    fall, pleats = _SKIRTS[skirt]
    parts = []
    if bodice in ("sleeveless", "v"):
        back = symmetric("M50 14 Q56 13.6 60 11.4 L62 17 L58 33 L50 36")
        parts.append(Part(outline=back, tone=0.62, puff=2, folds=0, patterned=False))
    if sleeve:
        arm = path(_DRESS_SLEEVES[sleeve])
        parts += [
            Part(outline=arm, puff=3.5, turn_deg=25),
            Part(outline=mirrored(arm), puff=3.5, turn_deg=-25),
        ]
    parts += [
        Part(outline=symmetric(fall), puff=6, folds=0.9, pleats=pleats),
        Part(outline=symmetric(_BODICES[bodice]), puff=4.5, folds=0.9, cast=0.15),
        Part(
            outline=symmetric("M50 47.6 L61.6 47.6 L61.6 51.4 Q56 52 50 52"),
            tone=0.84,
            puff=1.2,
            folds=0,
            patterned=False,
        ),
    ]
    return parts


_DRESS_SLEEVES = {
    "short": "M65.5 12.5 C72 14 77 22 80.5 33 Q75 37.5 70 38.6 L65 30 Z",
    "puff": "M65.5 12.5 C77 10 85 22 81 32 Q75 36 68 35.5 L65 30 Z",
    "long": "M65.5 12.5 C73 15 77 28 80 42 C82 53 84 62 85 72 Q81 74 77.6 73 C74 58 70 44 65 31 Z",
}


def skirt(*, cut: str = "flared") -> list[Part]:
    """A skirt on its waistband."""
    fall, pleats = _LONE_SKIRTS[cut]
    band = symmetric("M50 22.5 Q60 22.5 66.5 21 L67.5 28.5 Q60 30 50 30")
    placket = (path("M50 30 L50 100"),) if cut == "buttoned" else ()
    parts = [
        Part(
            outline=symmetric("M50 20 Q60 20 66.5 21 L66 25 L50 25"),
            tone=0.6,
            puff=2,
            folds=0,
            patterned=False,
        ),
        Part(outline=symmetric(fall), puff=7, folds=1, pleats=pleats, seams=placket),
        Part(outline=band, tone=0.92, puff=2, folds=0.2, patterned=False, cast=0.35),
    ]
    heights = (26.2, 37, 49, 61, 73, 85) if cut == "buttoned" else (26.2,)
    return parts + [_button(y, 1.5) for y in heights]


def _button(y: float, radius: float) -> Part:
    return Part(outline=ellipse(50, y, radius, radius), ink="trim", puff=0.8, folds=0, gloss=0.5, cast=0.5)


_LONE_SKIRTS = {
    "flared": ("M50 28 L67.4 28 C75 48 86 70 92 92 Q86 97.5 78 95.5 Q71 101 62 98.5 Q56 102 50 101", 5),
    "pleated": ("M50 28 L67.4 28 C74 50 82 74 87 98 Q70 103 50 103", 12),
    "mini": ("M50 28 L67.4 28 C72 42 77 60 81 78 Q66 82 50 82", 0),
    "buttoned": ("M50 28 L67.4 28 C73 45 79 75 83 102 Q68 106 50 106", 0),
    "pencil": ("M50 28 L67.4 28 C74 39 76 51 74 65 C72 82 70 96 69 110 Q60 111.5 50 111.5", 0),
}

_LEGS = {
    "slim": (
        "M66.5 13 C70.5 24 71.5 36 70.5 50 C69 72 67 94 65.5 117 Q60.5 118.4 55.6 117.6"
        " C54.6 95 53.6 70 51.4 47 L50 44 L50 13 Z"
    ),
    "straight": (
        "M66.5 13 C71.5 24 73 36 72.5 50 C72 72 71.5 94 71.5 116 Q64.5 118 57 117 C56 95 54.6 70 51.4 47"
        " L50 44 L50 13 Z"
    ),
    "wide": (
        "M66.5 13 C72.5 24 75.5 38 76.5 54 C78 76 80 96 82 115.5 Q70 118.4 58 117"
        " C56.6 95 54.6 70 51.4 48 L50 45 L50 13 Z"
    ),
    "flared": (
        "M66.5 13 C71 24 72 36 70.5 50 C69.5 68 70 82 72 94 Q75 106 79 115.5 Q69 118.4 57.5 117"
        " Q58.6 98 57.4 84 C56 70 53.6 58 51.4 47 L50 44 L50 13 Z"
    ),
    "short": "M67.5 26 C73 40 77 60 79.5 84 Q67 88.6 54.6 87 Q53.6 75 51.6 62 L50 58 L50 26 Z",
}


def trousers(*, leg: str = "straight", cargo: bool = False) -> list[Part]:
    """Trousers with a waistband, a fly and pockets."""
    outline = path(_LEGS[leg])
    top = 26.0 if leg == "short" else 13.0
    half = float(outline[0, 0]) - 50
    pocket = path(
        f"M{50 + half * 0.55:.2f} {top + 3} Q{50 + half * 0.7:.2f} {top + 12} {50 + half * 1.2:.2f} {top + 13}"
    )
    fly = path(f"M55 {top + 3} L55 {top + 17} Q54.6 {top + 22} 50.6 {top + 24}")
    band = symmetric(
        f"M50 {top} Q60 {top} {50 + half} {top - 1} L{50 + half + 0.9} {top + 5.4} Q60 {top + 6.4} 50 {top + 6.4}"
    )
    right = Part(outline=outline, puff=5, folds=1.3, stitches=(fly,), seams=(pocket,), turn_deg=-3)
    left = Part(outline=mirrored(outline), puff=5, folds=1.3, seams=(mirrored(pocket),), cast=0.3, turn_deg=3)
    back = symmetric(f"M50 {top - 2.5} Q60 {top - 2.5} {50 + half} {top - 1} L{50 + half} {top + 2} L50 {top + 3}")
    parts = [Part(outline=back, tone=0.6, puff=1.5, folds=0, patterned=False), left, right]
    if cargo:
        bag = path("M62 60 L74.5 58 L74.5 76 L62.5 77.5 Z")
        parts += [
            Part(outline=side, tone=0.97, puff=2, folds=0.8, cast=0.45, stitches=(side,))
            for side in (bag, mirrored(bag))
        ]
    parts.append(Part(outline=band, tone=0.95, puff=1.8, folds=0.3, patterned=False, cast=0.4))
    loops = [box(x - 0.9, top - 0.6, x + 0.9, top + 7.4, 0.4) for x in (38.0, 62.0)]
    parts += [Part(outline=loop, tone=0.9, puff=0.8, folds=0, patterned=False) for loop in loops]
    return [*parts, _button(top + 3.1, 1.6)]
