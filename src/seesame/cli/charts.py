"""What measurements look like: bars in the terminal, plots and tables on a page."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from rich.progress_bar import ProgressBar

from seesame.calibrating import Measured
from seesame.cli.report import document, table
from seesame.errors import InvalidInput
from seesame.evaluating import MEASURES, Evaluation, Outcome, difference, figures
from seesame.types import Space

_BAR_WIDTH = 30
_BINS = 24
_LABEL, _WIDE, _ROW = 170, 480, 22  # pixels

SOURCES = {
    "pictures": "pictures of the same product",
    "camera": "pictures and what a camera would make of them",
    "negatives": "nothing: too few pictures of the same product, and no model here to make some",
}


def bar(value: float, most: float, style: str = "green") -> ProgressBar:
    """A bar for the terminal."""
    return ProgressBar(
        total=max(most, 1e-9), completed=value, width=_BAR_WIDTH, complete_style=style, finished_style=style
    )


def change(value: float, interval: tuple[float, float]) -> str:
    """A difference with its interval."""
    return f"{value:+.3f} ({interval[0]:+.3f} to {interval[1]:+.3f})"


def write(path: Path, option: str, text: str) -> None:
    """Writes what an option asked for.

    Raises:
        InvalidInput: naming the option.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(option, f"Cannot write {str(path)!r}: {error.strerror}.") from error


def histogram(measured: Measured) -> list[tuple[float, float, float]]:
    """Bins of similarity, the lowest first: the middle, the share of different products, that of the same product."""
    both = np.concatenate([measured.alike, measured.different])
    edges = np.linspace(both.min(), max(both.max(), both.min() + 1e-3), _BINS + 1)
    shares = [np.histogram(values, edges)[0] / max(1, len(values)) for values in (measured.different, measured.alike)]
    middles = (edges[1:] + edges[:-1]) / 2
    return [(float(m), float(d), float(a)) for m, d, a in zip(middles, *shares, strict=True)]


def calibration_page(space: Space, measured: Measured) -> str:
    """Both histograms and the score over them."""
    bins = histogram(measured)
    most = max(max(different, alike) for _, different, alike in bins)
    height, width = 220, _WIDE / len(bins)
    marks = []
    for place, (_, different, alike) in enumerate(bins):
        for share, colour in ((different, "var(--muted)"), (alike, "var(--gold)")):
            tall = height * share / most
            marks.append(
                f'<rect x="{place * width:.1f}" y="{height - tall:.1f}" width="{width - 1:.1f}" height="{tall:.1f}"'
                f' fill="{colour}" fill-opacity="0.6"/>'
            )
    curve = " ".join(
        f"{(place + 0.5) * width:.1f},{height * (1 - measured.calibration.score(middle)):.1f}"
        for place, (middle, _, _) in enumerate(bins)
    )
    marks.append(f'<polyline points="{curve}" fill="none" stroke="currentColor" stroke-width="2"/>')
    marks += [
        f'<text x="{(place + 0.5) * width:.1f}" y="{height + 16}" text-anchor="middle">{middle:.2f}</text>'
        for place, (middle, _, _) in enumerate(bins)
        if place % 4 == 0
    ]
    calibration = measured.calibration
    return document(
        f"Calibration of {space.key}",
        f"<p>{escape(summary(space, measured))}</p>",
        _svg(_WIDE, height + 24, "How alike pictures are, and the score", marks),
        '<p class="note">Grey: pictures of different products; gold: of the same. The line is the score, 0 to 1.</p>',
        table(
            ("similarity", "different", "same", "score"),
            [(f"{m:.3f}", f"{d:.2%}", f"{a:.2%}", f"{calibration.score(m):.3f}") for m, d, a in bins],
        ),
    )


def summary(space: Space, measured: Measured) -> str:
    """What was measured, and what came of it."""
    calibration = measured.calibration
    return (
        f"{space.key}: {calibration.positives:,} pairs that are alike, from {SOURCES[calibration.source]}; "
        f"{calibration.negatives:,} pairs of different products. A result is a good match from a similarity of "
        f"{calibration.threshold:.3f} on."
    )


def evaluation_title(found: Evaluation) -> str:
    """What was looked for, and where."""
    what = "the same product" if found.target == "product" else "others of the same category"
    return f"{found.space}: photos that are to find {what}"


def good_matches(found: Evaluation) -> str:
    """Whether a good match can be told from none."""
    judged = figures(found.foreign).good_match if found.foreign else None
    if judged is None:
        return "Not calibrated, so no answer tells whether it is a good match; run: seesame calibrate"
    auc = found.auc()
    return (
        f"Of {len(found.foreign)} foreign pictures, {judged:.0%} are told to have a good match. "
        f"A damaged picture of the catalogue is more like its best result than a foreign one: {auc:.3f} (AUC)."
    )


def evaluation_page(found: Evaluation, before: Evaluation | None) -> str:
    """A plot by kind of damage, and all figures."""
    kinds = found.by_kind()
    earlier = before.by_kind() if before is not None else {}
    parts = [
        f"<p>{escape(good_matches(found))}</p>",
        _recalls(kinds, earlier),
        '<p class="note">R@1 with its interval of 95 %. A mark: before.</p>' if earlier else
        '<p class="note">R@1 with its interval of 95 %.</p>',
        _figures_table("photo", kinds),
        "<h2>By category, damaged</h2>",
        _figures_table("category", found.by_category()),
    ]  # fmt: skip
    if before is not None:
        rows = []
        for kind, outcomes in kinds.items():
            changed = difference(outcomes, earlier.get(kind, ()))
            if changed is not None:
                rows.append((kind, str(changed.queries), *map(change, changed.values, changed.intervals)))
        parts += [f"<h2>Compared with {escape(before.space)}</h2>", table(("photo", "queries", *MEASURES), rows)]
    return document(evaluation_title(found), *parts)


def _figures_table(what: str, groups: dict[str, tuple[Outcome, ...]]) -> str:
    rows = []
    for name, outcomes in groups.items():
        shown = figures(outcomes)
        good = "" if shown.good_match is None else f"{shown.good_match:.0%}"
        rows.append((name, str(shown.queries), *(f"{value:.3f}" for value in shown.values), good))
    return table((what, "queries", *MEASURES, "good match"), rows)


def _recalls(kinds: dict[str, tuple[Outcome, ...]], earlier: dict[str, tuple[Outcome, ...]]) -> str:
    marks = []
    for place, (kind, outcomes) in enumerate(kinds.items()):
        shown, top = figures(outcomes), place * _ROW
        low, high = (_LABEL + _WIDE * share for share in shown.interval)
        marks += [
            f'<text x="0" y="{top + 15}">{escape(kind)}</text>',
            f'<rect x="{_LABEL}" y="{top + 4}" width="{_WIDE * shown.values[0]:.1f}" height="14" fill="var(--gold)"/>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{top + 11}" y2="{top + 11}" stroke="currentColor"/>',
            f'<text x="{_LABEL + _WIDE + 8}" y="{top + 15}">{shown.values[0]:.3f}</text>',
        ]
        if kind in earlier:
            x = _LABEL + _WIDE * figures(earlier[kind]).values[0]
            marks.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 1}" y2="{top + 21}" stroke="currentColor"'
                ' stroke-width="2" stroke-dasharray="3 2"/>'
            )
    return _svg(_LABEL + _WIDE + 60, len(kinds) * _ROW, "R@1 by kind of damage", marks)


def _svg(width: float, height: float, label: str, marks: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">{"".join(marks)}</svg>'
