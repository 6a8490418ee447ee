"""`seesame calibrate`."""

from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from seesame.calibrating import Measured
from seesame.calibration import GOOD
from seesame.cli import charts, tables
from seesame.cli.catalogue import opened
from seesame.types import Space

_BINS = 20

_out = Console()
_err = Console(stderr=True)


def calibrate(
    space: Annotated[str | None, typer.Option(help="A space's key.", show_default="the one that answers")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure only, and change nothing.")] = False,
) -> None:
    """Measure what similarities mean in a space: from then on results have a score, and answers say if they are good.

    Searches by pictures of the catalogue as a phone's camera would show them, and compares how similar they are to
    their own product and to the most similar other one. With SEESAME_CALIBRATE=true, workers and `seesame up` do so by
    themselves when a space is complete, and again when the catalogue has become half as large again, or shrunk as much.
    """
    with opened() as application:
        chosen, embedder = application.spaces.ready(space)
        with tables.bar(_err, "Searching", "pictures") as show:
            measured = application.calibrator.measure(chosen, embedder, show)
        if not dry_run:
            application.calibrator.store(chosen, measured.calibration)
    _out.print(_table(measured))
    _out.print(_summary(chosen, measured), soft_wrap=True, highlight=False)


def _summary(space: Space, measured: Measured) -> str:
    """What was measured, and what came of it."""
    return (
        f"{space.key}: {measured.calibration.photos} photos. A result is a good match from a score of {GOOD} on: "
        f"{np.mean(measured.own >= GOOD):.0%} of the photos' own products are, and "
        f"{np.mean(measured.others >= GOOD):.0%} of the most similar others."
    )


def _table(measured: Measured) -> Table:
    """How many photos have scores from one to the next: for their own product, and for the most similar other one."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("score", justify="right")
    table.add_column("own product")
    table.add_column("most similar other product")
    counts = [np.histogram(scores, bins=_BINS, range=(0, 1))[0] for scores in (measured.own, measured.others)]
    most = max(counted.max() for counted in counts)
    for place, (own, others) in enumerate(zip(*counts, strict=True)):
        table.add_row(f"{place / _BINS:.2f}", charts.bar(own, most), charts.bar(others, most, "yellow"))
    return table
