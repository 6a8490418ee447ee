"""`seesame calibrate`."""

from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from seesame.calibrating import Measured
from seesame.cli import charts, tables
from seesame.cli.catalogue import opened
from seesame.types import Space

_BINS = 24

_out = Console()
_err = Console(stderr=True)


def calibrate(
    space: Annotated[str | None, typer.Option(help="A space's key.", show_default="the one that answers")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure only, and change nothing.")] = False,
) -> None:
    """Measure what similarities mean in a space: from then on results have a score, and answers say if they are good.

    Searches by pictures of the catalogue as a phone's camera would show them, and compares how similar they are to
    their own product and to the most similar other one. Workers and `seesame up` do so by themselves when a space is
    complete, and again when the catalogue has become half as large again, or shrunk as much.
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
    least = measured.calibration.threshold
    return (
        f"{space.key}: {measured.calibration.photos} photos. A result is a good match from a similarity of {least:.3f} "
        f"on: {np.mean(measured.own >= least):.0%} of the photos' own products are, and "
        f"{np.mean(measured.others >= least):.0%} of the most similar others."
    )


def _table(measured: Measured) -> Table:
    """Bins of similarity, each with the shares of photos, and the score."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("similarity", "score"):
        table.add_column(column, justify="right")
    table.add_column("most similar other product")
    table.add_column("own product")
    bins = _histogram(measured)
    most = max(max(others, own) for _, others, own in bins)
    for middle, others, own in bins:
        table.add_row(
            f"{middle:.3f}",
            f"{measured.calibration.score(middle):.3f}",
            charts.bar(others, most, "yellow"),
            charts.bar(own, most),
        )
    return table


def _histogram(measured: Measured) -> list[tuple[float, float, float]]:
    """Bins of similarity, the lowest first: the middle, and the shares of other products and of own ones."""
    both = np.concatenate([measured.own, measured.others])
    edges = np.linspace(both.min(), max(both.max(), both.min() + 1e-3), _BINS + 1)
    shares = [np.histogram(values, edges)[0] / len(values) for values in (measured.others, measured.own)]
    middles = (edges[1:] + edges[:-1]) / 2
    return [(float(middle), float(other), float(own)) for middle, other, own in zip(middles, *shares, strict=True)]
