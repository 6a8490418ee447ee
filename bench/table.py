"""The table of figures, for the terminal and for markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

_HEADINGS = ("what", "measured", "target", "met?")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. A figure without a target only informs; `met` is None for it and for what was skipped."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        return self.what, self.measured, self.target, {True: "yes", False: "NO", None: ""}[self.met]


@dataclass(frozen=True, slots=True)
class Chart:
    """A line, which markdown shows as a picture; the terminal has the table alone."""

    title: str
    x: str
    y: str
    points: Sequence[tuple[float, float]]

    def __str__(self) -> str:
        lowest = min(y for _, y in self.points)
        return f"""
```mermaid
xychart-beta
    title "{self.title}"
    x-axis "{self.x}" [{", ".join(f'"{x:.2f}"' for x, _ in self.points)}]
    y-axis "{self.y}" {lowest - 0.002:.3f} --> 1
    line [{", ".join(f"{y:.4f}" for _, y in self.points)}]
```"""


def at_least(what: str, value: float, least: float, measured: str, target: str) -> Row:
    """A figure that must not be lower than `least`."""
    return Row(what, measured, f"≥ {target}", value >= least)


def at_most(what: str, value: float, most: float, measured: str, target: str) -> Row:
    """A figure that must not be higher than `most`."""
    return Row(what, measured, f"≤ {target}", value <= most)


def skipped(what: str, why: str) -> Row:
    """A figure that was not measured."""
    return Row(what, f"skipped: {why}")


def print_table(measured: Sequence[Row | Chart], *, markdown: bool) -> None:
    """Prints the table on stdout, and the charts below it."""
    rows = [row for row in measured if isinstance(row, Row)]
    if markdown:
        for cells in (_HEADINGS, ("---",) * len(_HEADINGS), *(row.cells for row in rows)):
            print(f"| {' | '.join(cells)} |")
        for chart in measured:
            if isinstance(chart, Chart):
                print(chart)
        return
    table = Table(*_HEADINGS, box=box.MARKDOWN)
    for row in rows:
        table.add_row(*row.cells, style={True: "green", False: "red", None: None}[row.met])
    Console(highlight=False).print(table)
