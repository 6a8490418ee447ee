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


def at_least(what: str, value: float, least: float, measured: str, target: str) -> Row:
    """A figure that must not be lower than `least`."""
    return Row(what, measured, f"≥ {target}", value >= least)


def at_most(what: str, value: float, most: float, measured: str, target: str) -> Row:
    """A figure that must not be higher than `most`."""
    return Row(what, measured, f"≤ {target}", value <= most)


def skipped(what: str, why: str) -> Row:
    """A figure that was not measured."""
    return Row(what, f"skipped: {why}")


def print_table(rows: Sequence[Row], *, markdown: bool) -> None:
    """Prints the table on stdout."""
    if markdown:
        for cells in (_HEADINGS, ("---",) * len(_HEADINGS), *(row.cells for row in rows)):
            print(f"| {' | '.join(cells)} |")
        return
    table = Table(*_HEADINGS, box=box.MARKDOWN)
    for row in rows:
        table.add_row(*row.cells, style={True: "green", False: "red", None: None}[row.met])
    Console(highlight=False).print(table)
