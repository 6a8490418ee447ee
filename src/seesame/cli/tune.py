"""`seesame tune`."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from seesame.application import open_database
from seesame.cli import charts, tables
from seesame.db import recall as rows
from seesame.db import spaces
from seesame.db.migrate import migrate
from seesame.db.pool import Database
from seesame.errors import InvalidInput
from seesame.recall import Point, Tuning
from seesame.recall import tune as measure
from seesame.settings import Settings
from seesame.types import Space

_err = Console(stderr=True)


def tune(
    recall: Annotated[float, typer.Option(min=0.5, max=1.0, help="The share of the nearest ten to find.")] = 0.98,
    space: Annotated[str | None, typer.Option(help="A space's key.", show_default="the one that answers")] = None,
    queries: Annotated[int, typer.Option(min=20, max=5_000, help="How many queries to measure with.")] = 200,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure only, and change nothing.")] = False,
) -> None:
    """Choose how far the index is searched, by measuring what it finds against comparing all.

    Takes queries of late, which the servers keep a few of, and where there are too few, vectors between pictures that
    are alike. Comparing all of a million pictures takes about half a second a query. What is chosen is used by all
    processes within a second or so.
    """
    with open_database(Settings.read()) as database:
        migrate(database)
        chosen = _space(database, space)
        if not chosen.indexed:
            Console().print(f"{chosen.key} has no index: every search compares all, and finds all.")
            return
        with tables.bar(_err, "Comparing all", "queries") as show:
            tuning = measure(database, chosen, recall=recall, queries=queries, on_progress=show)
        console = Console()
        console.print(_table(tuning, chosen, recall))
        console.print(f"[dim]{tuning.live_queries} queries of late, {tuning.stand_ins} stand-ins[/]")
        if tuning.chosen is None:
            _err.print(f"[yellow]⚠[/]  No ef_search reaches a recall of {recall:g}. {chosen.key} stays as it is.")
            raise typer.Exit(1)
        if dry_run:
            console.print(f"ef_search {tuning.chosen.ef_search} would do; it is {chosen.ef_search}.")
            return
        with database.transaction() as connection:
            rows.set_tuned(connection, chosen.space_id, ef_search=tuning.chosen.ef_search, recall=recall)
        console.print(f"{chosen.key}: ef_search {chosen.ef_search} → {tuning.chosen.ef_search}")


def _space(database: Database, key: str | None) -> Space:
    with database.transaction() as connection:
        known = spaces.list_spaces(connection)
    for space in known:
        if space.key == key or (key is None and space.role == "primary"):
            return space
    for space in known:
        if key is None and space.role == "fallback":
            return space
    raise InvalidInput("space", f"There is no space {key!r}. There are: {', '.join(space.key for space in known)}.")


def _table(tuning: Tuning, space: Space, recall: float) -> Table:
    """The points, each with a bar for its recall and one for its latency."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("")
    for column in ("ef_search", "recall@10", "median", "p99"):
        table.add_column(column, justify="right")
    table.add_column("recall, from the lowest to 1")
    table.add_column("median latency")
    lowest = min(point.recall for point in tuning.points)
    slowest_ms = max(point.median_ms for point in tuning.points)
    for point in tuning.points:
        table.add_row(
            _mark(point, tuning, space),
            str(point.ef_search),
            f"{point.recall:.4f}",
            f"{point.median_ms:.2f} ms",
            f"{point.p99_ms:.2f} ms",
            charts.bar(point.recall - lowest, 1 - lowest, "green" if point.recall >= recall else "yellow"),
            charts.bar(point.median_ms, slowest_ms),
        )
    return table


def _mark(point: Point, tuning: Tuning, space: Space) -> str:
    if point is tuning.chosen:
        return "→"
    return "now" if point.ef_search == space.ef_search else ""
