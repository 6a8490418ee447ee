"""What measurements look like: bars in the terminal, plots and tables on a page."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from rich.progress_bar import ProgressBar

from seesame.cli.report import document, table
from seesame.errors import InvalidInput
from seesame.evaluating import MEASURES, Evaluation, Outcome, difference, figures, separation

_BAR_WIDTH = 30
_LABEL, _WIDE, _ROW = 170, 480, 22  # pixels


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


def evaluation_title(found: Evaluation) -> str:
    """What was looked for, and where."""
    return f"{found.space}: photos that are to find their product"


def good_matches(found: Evaluation) -> str:
    """Whether a good match can be told from none."""
    told = separation([outcome for outcome in found.outcomes if outcome.kind != "none"])
    if told is None:
        return "Not calibrated, so no answer tells whether it is a good match; run: seesame calibrate"
    return (
        f"Damaged photos whose product is there have a good match in {told.present:.1%} of the answers; if it were "
        f"not there, in {told.absent:.1%}. Telling the two apart (AUC): by score {told.by_score:.3f}, by similarity "
        f"{told.by_similarity:.3f}."
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
        "<h2>By category, by camera</h2>",
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
        rows.append((name, str(shown.queries), *(f"{value:.3f}" for value in shown.values)))
    return table((what, "queries", *MEASURES), rows)


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
