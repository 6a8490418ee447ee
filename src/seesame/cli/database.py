"""`seesame db`."""

import signal
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from seesame.application import open_database
from seesame.cli import columns, tables
from seesame.db import conversion, distribution, indexes, programs, spaces
from seesame.db import migrate as migrations
from seesame.db.pool import Database
from seesame.logs import configure_logging
from seesame.settings import Settings

_err = Console(stderr=True)
app = typer.Typer(
    help="The database's schema, and vectors that the shop has in tables of its own.", no_args_is_help=True
)
app.command()(columns.adopt)
app.command()(columns.convert_column)


@app.command()
def migrate() -> None:
    """Bring the schema up to date. Any number of processes may do it at once.

    Where pgvector was installed since the last time, the vectors are converted and get their index. Searches and
    indexing go on meanwhile; if it is cut short, run it again.
    """
    settings = Settings.read()
    configure_logging(settings.log_level, settings.log_format)
    with open_database(settings) as database:
        applied = migrations.migrate(database)
        Console().print(f"Applied {len(applied)} migrations." if applied else "The schema is up to date.")
        for space in conversion.due(database):
            with tables.bar(_err, f"Converting {space.key}", "vectors") as show:
                converted = conversion.convert(database, space, show)
            Console().print(
                f"{space.key} is searched with pgvector now."
                if converted
                else f"{space.key} is being converted by another process."
            )


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def run(command: Annotated[list[str], typer.Argument(metavar="COMMAND")]) -> None:
    """Run a program of PostgreSQL, such as psql or pg_dump, on the database; its exit code is passed on.

    The program finds the connection in PGHOST, PGDATABASE and so on. Those of PostgreSQL 18 come with Seesame.
    """
    with open_database(Settings.read()) as database:
        signal.signal(signal.SIGINT, lambda *_: None)  # the program's to answer: psql ends a query, not itself
        raise typer.Exit(programs.run(database.dsn, command))


@app.command()
def status() -> None:
    """Show which migrations were applied. Exit code 1 if some are due."""
    with open_database(Settings.read()) as database:
        listed = migrations.status(database)
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("migration")
    table.add_column("applied at")
    for migration in listed:
        at = migration.applied_at
        table.add_row(migration.name, at.isoformat(" ", "seconds") if at else "[yellow]due[/]")
    Console().print(table)
    if any(migration.applied_at is None for migration in listed):
        raise typer.Exit(1)


@app.command()
def distribute(
    shards: Annotated[int | None, typer.Option(min=1, help="Shards in all. Default: one a worker.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Spread the catalogue over the workers of a Citus cluster, by product.

    DATABASE_URL names the coordinator. Searches and writes wait while the rows are copied; then the indexes are built
    beside both. Running it again changes nothing, or does what is left. Each search asks every shard, so few are
    better: one or two a worker.
    """
    settings = Settings.read()
    configure_logging(settings.log_level, settings.log_format)
    console = Console(highlight=False)
    with open_database(settings) as database:
        with database.transaction() as connection:
            plan = distribution.plan(connection, shards)
        console.print(f"{plan.workers} workers, {plan.shards} shards")
        for name in plan.done:
            console.print(f"{name}: distributed already")
        if dry_run:
            for name in plan.due:
                console.print(f"{name}: would be distributed")
            return
        distribution.distribute(database, shards, lambda name: console.print(f"{name}: being distributed …"))
        _build_indexes(database, console)
    console.print("The catalogue is distributed.")


def _build_indexes(database: Database, console: Console) -> None:
    with database.transaction() as connection:
        listed = spaces.list_spaces(connection)
    for space in listed:
        with tables.bar(console, f"Index of {space.key}", "vectors") as show:
            indexes.ensure(database, space, lambda build, show=show: show(build.done, build.total or None))  # type: ignore[misc]
