"""The parts of shoes and boots: a pair, seen from the side."""

from dataclasses import replace

from seesame.demo.canvas import Part
from seesame.demo.outlines import Points, box, ellipse, moved, path, ribbon

_RUBBER = "#f4f1ea"
_DARK = "#33302f"


def _pair(parts: list[Part], *, x: float, y: float) -> list[Part]:
    """The shoe with its fellow a little behind."""
    return [_behind(part, x=x, y=y) for part in parts] + parts


def _behind(part: Part, *, x: float, y: float) -> Part:
    def shift(points: Points) -> Points:
        return moved(points, x=x, y=y, scale=0.97)

    return replace(
        part,
        outline=shift(part.outline),
        hole=None if part.hole is None else shift(part.hole),
        seams=tuple(map(shift, part.seams)),
        stitches=tuple(map(shift, part.stitches)),
        tone=part.tone * 0.9,
    )


_UPPERS = {
    "low": (
        "M9 93 C8 84 13 80 22 77 C33 74 41 66 49 57 L59 52 C63 58 71 60 79 54 C83 51 87 52 87.5 57"
        " C88 64 88.6 80 90 93 Z"
    ),
    "high": (
        "M9 93 C8 84 13 80 22 77 C33 74 42 66 48 54 L53 36 C60 38 70 39 80 34 C84 33 86 35 86 39"
        " C86.5 58 88.4 80 90 93 Z"
    ),
    "slip-on": (
        "M9 93 C8 83 13 79 22 76 C32 72 40 66 48 60 C56 66 68 66 80 57 C84 55 87 56 87.6 61 C88 68 88.6 80 90 93 Z"
    ),
}


def sneaker(*, height: str = "low", sole: str = "flat") -> list[Part]:
    """A pair of sneakers."""
    upper = path(_UPPERS[height])
    toe = path("M9 93 C8 84 13 80 21 77.4 C26 80 29.4 86 30 93 Z")
    toe_line = path("M21 77.4 C26 80 29.4 86 30 93")
    heel = path("M79 93 C77.4 82 78 74 80 66 L88 64.5 C88.4 74 89 84 90 93 Z")
    flash = path("M40 88 C52 88 64 82 72 71 C70 80 64 89 52 92.5 Z")
    parts = [*_tongue(height), Part(outline=upper, puff=6, folds=0.6, cast=0.2, stitches=(toe_line,))]
    if height != "slip-on":
        parts.append(Part(outline=heel, ink="second", puff=3, folds=0.2, cast=0.25))
        parts.append(Part(outline=flash, ink="second", puff=1.5, folds=0, cast=0.25, stitches=(flash,)))
        parts += _laces(height)
    else:
        gore = path("M47 61 C52 65 58 66.5 64 66 L60 79 L51 77 Z")
        parts.append(Part(outline=gore, ink="second", puff=1.5, folds=0, pleats=5, cast=0.25))
    if height == "high":
        parts.append(Part(outline=ellipse(72, 56, 6, 6), ink=_RUBBER, puff=1.5, folds=0, cast=0.3))
        parts.append(Part(outline=ellipse(72, 56, 3.6, 3.6), ink="second", puff=1, folds=0, cast=0.2))
    if sole == "flat":
        parts.append(Part(outline=toe, ink=_RUBBER, puff=5, folds=0.1, cast=0.25))
    parts += _sole(sole)
    return _pair(parts, x=5.5, y=-17)


def _tongue(height: str) -> list[Part]:
    if height == "slip-on":
        return [
            Part(
                outline=path("M46 62 C52 56 74 53 84 57 L80 66 L50 68 Z"),
                tone=0.55,
                puff=2,
                folds=0,
                patterned=False,
            )
        ]
    x, y = (45.0, 54.0) if height == "low" else (49.0, 36.0)
    tongue = path(f"M{x} {y + 8} L{x + 1} {y - 5} Q{x + 6} {y - 9} {x + 13} {y - 5} L{x + 16} {y + 12} Z")
    lining = path(f"M{x + 8} {y - 1} L84 {y - 1} L80 {y + 10} L{x + 12} {y + 12} Z")
    return [
        Part(outline=lining, tone=0.5, puff=2, folds=0, patterned=False),
        Part(outline=tongue, tone=1.06, puff=2.5, folds=0.3, patterned=False),
    ]


def _laces(height: str) -> list[Part]:
    stops = ((28, 75.6), (34, 71.6), (39.6, 66.6), (45, 60.8)) + (((48.6, 53), (51, 45)) if height == "high" else ())
    parts = []
    for x, y in stops:
        lean = 1.6 if y > 58 else 0.6
        lace = path(f"M{x - 1.4} {y - 0.6} Q{x + 4} {y + lean} {x + 9} {y + 4.6}")
        parts.append(Part(outline=ellipse(x + 9, y + 4.8, 1.1, 1.1), ink=_DARK, puff=0.5, folds=0, cast=0.2))
        parts.append(Part(outline=ribbon(lace, 2.1), ink="trim", puff=0.9, folds=0, cast=0.55))
    return parts


def _sole(kind: str) -> list[Part]:
    if kind == "chunky":
        mid = path("M6 91 C20 95 40 92 55 90 C70 88 84 86 92 88 C95 95 94 102 90 104 L16 104 C6 103 4 97 6 91 Z")
        grip = path("M9 101 L92 101 C92 104.6 91 106 88 106 L16 106 C12 106 10 104.6 9 101 Z")
        line = path("M9 97 C30 100 60 95 92 95")
        return [
            Part(outline=grip, ink=_DARK, puff=1.4, folds=0),
            Part(outline=mid, ink=_RUBBER, puff=4, folds=0.1, cast=0.3, seams=(line,)),
        ]
    wall = path("M7.6 91 L91 91 C93.6 95 93 103 90.6 104 L13 104 C6.6 104 5.6 96 7.6 91 Z")
    line = path("M7.6 94.6 L92 94.6")
    return [Part(outline=wall, ink=_RUBBER, puff=2.5, folds=0.1, cast=0.35, seams=(line,))]


_SHAFTS = {
    "ankle": ("M44 50 C54 52 66 51 76 48", 48.0),
    "mid": ("M42 33 C54 35 67 34 78 31", 31.0),
    "tall": ("M40 12 C53 15 69 14 81 10", 10.0),
}


def boot(*, shaft: str = "ankle", closing: str = "elastic", heel: str = "block") -> list[Part]:
    """A pair of boots."""
    top_line, top = _SHAFTS[shaft]
    rim = path(top_line)
    start_x, start_y = rim[0]
    end_x, end_y = rim[-1]
    middle = (start_x + end_x) / 2
    body = path(
        f"M{start_x:.2f} {start_y:.2f} L{end_x:.2f} {end_y:.2f} C{end_x - 1:.2f} 65 76 80 79.6 98 L79.6 106"
        f" L14 106 C11 98 16 92 26 89 C37 86 42 80 42.6 70 C42.6 60 42 50 {start_x:.2f} {start_y:.2f} Z"
    )
    mouth = path(
        f"M{start_x} {start_y} Q{middle} {top - 5} {end_x} {end_y} Q{middle} {start_y + 8} {start_x} {start_y} Z"
    )
    ankle_seam = path("M43 74 Q56 86 77.6 84")
    parts = [
        Part(outline=mouth, tone=0.5, puff=2, folds=0, patterned=False),
        Part(
            outline=body,
            puff=7,
            folds=1.2,
            gloss=0.35,
            cast=0.1,
            seams=() if closing == "plain" else (ankle_seam,),
        ),
        Part(outline=ribbon(rim, 2.6), tone=0.86, puff=1, folds=0, patterned=False, gloss=0.2, cast=0.2),
        *_boot_closing(closing, top),
        *_boot_sole(heel),
    ]
    return _pair(parts, x=9, y=-7)


def _boot_closing(kind: str, top: float) -> list[Part]:
    if kind == "elastic":
        gore = path(f"M55 {top + 4} L68 {top + 3} L64.5 80 L58.5 80 Z")
        return [Part(outline=gore, ink="second", puff=1.5, folds=0, pleats=6, cast=0.3)]
    if kind == "buckle":
        strap = path("M41.6 72 Q58 80 77 74 L77.6 79.6 Q58 86 40.6 78 Z")
        return [
            Part(outline=strap, ink="second", puff=1.6, folds=0.1, gloss=0.3, cast=0.45),
            Part(
                outline=box(61, 74.6, 69, 84, 1.5),
                hole=box(63, 76.8, 67, 81.8, 0.6),
                ink="#d3b26a",
                puff=0.8,
                folds=0,
                gloss=0.8,
                cast=0.5,
            ),
        ]
    if kind == "laces":
        parts = []
        y = top + 6
        while y < 84:
            x = 42.6 - max(y - 70, 0) * 0.5
            lace = path(f"M{x - 0.8} {y} Q{x + 5} {y + 1.6} {x + 11} {y + 0.6}")
            parts.append(
                Part(
                    outline=ellipse(x + 11, y + 0.6, 1.2, 1.2),
                    ink="#d3b26a",
                    puff=0.5,
                    folds=0,
                    gloss=0.6,
                    cast=0.3,
                )
            )
            parts.append(Part(outline=ribbon(lace, 1.9), ink="trim", puff=0.8, folds=0, cast=0.5))
            y += 6.4
        return parts
    return []


def _boot_sole(heel: str) -> list[Part]:
    if heel == "block":
        block = path("M57 104.6 L80 104.6 L78.6 117 L63 117 L60 109 Z")
        sole = path("M12.6 104.6 L60 104.6 L61 108.6 C54 110 48 115.6 42 116.6 L22 117 Q11 115 12.6 104.6 Z")
        welt = path("M12.6 104 L79.6 104 L79.4 107.4 L13 107.4 Z")
        return [
            Part(outline=block, ink="#5a3d2b", puff=2, folds=0, gloss=0.2),
            Part(outline=sole, ink="#5a3d2b", puff=2, folds=0, gloss=0.1),
            Part(outline=welt, ink=_DARK, puff=1, folds=0, cast=0.2),
        ]
    tread = path("M12 104.6 L80.6 104.6 L81.6 112 L80 117 L60 117 L59 114 L52 114 L51 117 L19 117 Q11 115 12 104.6 Z")
    return [Part(outline=tread, ink=_DARK, puff=2, folds=0, gloss=0.1)]
