"""`seesame db adopt` and `seesame db convert-column`: vectors that the shop has in tables of its own."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from seesame.adoption import Adoption, Report, Source
from seesame.application import Application, open_application, open_database
from seesame.cli import tables
from seesame.db import columns
from seesame.db.columns import Fit, Refused, VectorType
from seesame.db.indexes import Build
from seesame.logs import configure_logging
from seesame.settings import Settings
from seesame.types import Space

_err = Console(stderr=True)

Table = Annotated[str, typer.Option(help="The table, with its schema where that is needed.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and change nothing.")]


def adopt(
    table: Table,
    column: Annotated[str, typer.Option(help="The column that holds the vectors.")],
    model: Annotated[str, typer.Option(help="The model that made them: a name as in `seesame models list`.")],
    id_: Annotated[str, typer.Option("--id", help="The column that holds the products' ids.")] = "id",
    image_id: Annotated[
        str | None, typer.Option(help="A column of Seesame's image ids (uuid).", show_default="the first image")
    ] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="Also take vectors that are not unit length.")] = False,
    check: Annotated[bool, typer.Option(help="Embed 20 of the pictures, to see that the model made them.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Take over vectors from a table of the shop's, so that they are not computed again.

    The column is of type json, jsonb, text, real[], double precision[], vector or halfvec. The products and their
    pictures must be in the catalogue: run `seesame import --no-index` first. The table is only read, and may be written
    meanwhile. If a row has no good vector, it is named, nothing is changed and the exit code is 1.
    """
    settings = Settings.read()
    configure_logging(settings.log_level, settings.log_format)
    source = Source(table, id_, column, image_id)
    with open_application(settings) as application, application.embedder(model) as embedder:
        with tables.bar(_err, "Reading", "rows") as show:
            adoption = Adoption(application.database, application.catalogue, embedder)
            report = adoption.run(source, normalise=normalise, check=check, dry_run=dry_run, on_rows=show)
        _tell(report, dry_run=dry_run)
        _end_if_refused(report.refused)
        if report.space is not None:
            _settle(application, report.space)


def convert_column(
    table: Table,
    column: Annotated[str, typer.Option(help="The column that holds the vectors.")],
    dimensions: Annotated[int, typer.Option(min=1, help="How many numbers each vector has.")],
    id_: Annotated[
        str | None, typer.Option("--id", help="The column to name rows by.", show_default="the primary key")
    ] = None,
    type_: Annotated[VectorType, typer.Option("--type", help="halfvec takes half the room.")] = "vector",
    dry_run: DryRun = False,
) -> None:
    """Turn a column of vectors in a table of the shop's into pgvector's type, with an HNSW index by cosine.

    The column is of type json, jsonb, text, real[], double precision[], vector or halfvec. If a row does not fit, it is
    named, nothing is changed and the exit code is 1. Checking keeps nobody waiting. The change is one transaction, and
    whoever reads or writes the table waits until it ends: about a minute for 50,000 vectors of 512 dimensions on two
    cores. It is given up if others use the table for more than 5 s.
    """
    settings = Settings.read()
    configure_logging(settings.log_level, settings.log_format)
    with open_database(settings) as database:
        with tables.bar(_err, "Checking", "rows") as show:
            found = columns.fit(database, table, column, type_, dimensions, row_id=id_, on_rows=show)
        _end_if_refused(found.refused)
        _say(_plan(found))
        if dry_run or (found.has_type and found.has_index):
            return
        started = time.monotonic()
        with _building() as on_build:
            lost = columns.convert(database, found, on_build)
        if lost is not None:
            _say(f"The default of the column, {lost}, is no {found.wanted}. The column has none now.")
        _say(f"Done in {time.monotonic() - started:.1f} s.")


def _plan(found: Fit) -> str:
    index = "has its index" if found.has_index else "lacks its index"
    if found.has_type:
        return f"{found.column.name} is {found.wanted} already and {index}."
    return f"{found.column.name} is {found.column.type}; all of its {found.vectors:,} vectors fit {found.wanted}."


def _tell(report: Report, *, dry_run: bool) -> None:
    if report.refused.count == 0:
        _say(f"{report.adopted:,} of {report.rows:,} vectors {'can be' if dry_run else 'were'} adopted.")
    if report.similarities:
        _say(
            f"The model gives the same: median similarity {median(report.similarities):.3f},"
            f" lowest {min(report.similarities):.3f}, of {len(report.similarities)} pictures embedded anew."
        )
    if report.without:
        _say(f"{report.without:,} rows have no vector.")
    if report.unknown:
        _say(f"{report.unknown:,} rows are of products or images that are not in the catalogue: import them first.")
    if report.left:
        _say(f"{report.left:,} images were left to a worker that had them in hand, or deleted meanwhile.")


def _settle(application: Application, space: Space) -> None:
    """Builds the space's index, and says whether the space answers now."""
    with _building() as on_build:
        activated = application.spaces.settle(space, on_build)
    state = next(s for s in application.spaces.states() if s.space.key == space.key)
    if activated:
        _say(f"{space.key} is complete and answers from now on.")
    elif state.missing:
        _say(f"{state.missing:,} images still lack their vector in {space.key}; run: seesame index")


@contextmanager
def _building() -> Iterator[Callable[[Build], None]]:
    """A progress bar for an index, which shows once there is one to build."""
    with tables.bar(_err, "Building the index", "vectors") as show:
        yield lambda build: show(build.done, build.total or None)


def _end_if_refused(refused: Refused) -> None:
    """Names rows that were refused, and ends the program if there are any."""
    if refused.count == 0:
        return
    for row_id, reason in refused.first:
        _err.print(Text.assemble(("✗ ", "red"), f"{row_id}: {reason}"), soft_wrap=True)
    if refused.count > len(refused.first):
        _say(f"… and {refused.count - len(refused.first):,} more")
    _say(f"{refused.count:,} rows were refused. Nothing was changed.")
    raise typer.Exit(1)


def _say(line: str) -> None:
    _err.print(Text(line), soft_wrap=True)
