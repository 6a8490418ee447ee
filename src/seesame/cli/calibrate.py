"""`seesame calibrate`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from seesame.cli import charts, tables
from seesame.cli.catalogue import opened

_out = Console()
_err = Console(stderr=True)


def calibrate(
    space: Annotated[str | None, typer.Option(help="A space's key.", show_default="the one that answers")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure only, and change nothing.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write a page with the plot.")] = None,
) -> None:
    """Measure what similarities mean in a space: from then on results have a score, and answers say if they are good.

    Compares pictures of the same product with pictures of different ones, by lot; where products have one picture each,
    with what a phone's camera would make of it. Workers and `seesame up` do so by themselves when a space is complete,
    and again when the catalogue has changed much.
    """
    with opened() as application:
        chosen = application.spaces.find(space) if space is not None else application.spaces.primary()
        embedder = next((e for s, e in application.spaces.live() if s.key == chosen.key), None)
        with tables.bar(_err, "Photographing", "pictures") as show:
            measured = application.calibrator.measure(chosen, embedder, show)
        if not dry_run:
            application.calibrator.store(chosen, measured.calibration)
    _out.print(_table(measured))
    _out.print(charts.summary(chosen, measured), soft_wrap=True, highlight=False)
    if report is not None:
        charts.write(report, "report", charts.calibration_page(chosen, measured))
        _out.print(f"The page is {report}", soft_wrap=True)


def _table(measured: charts.Measured) -> Table:
    """Bins of similarity, each with the shares of pairs, and the score."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("similarity", "score"):
        table.add_column(column, justify="right")
    table.add_column("different products")
    table.add_column("same product")
    bins = charts.histogram(measured)
    most = max(max(different, alike) for _, different, alike in bins)
    for middle, different, alike in bins:
        table.add_row(
            f"{middle:.3f}",
            f"{measured.calibration.score(middle):.3f}",
            charts.bar(different, most, "yellow"),
            charts.bar(alike, most),
        )
    return table
