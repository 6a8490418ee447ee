"""`seesame db`."""

import typer
from rich.console import Console
from rich.table import Table

from seesame.application import open_database
from seesame.cli import tables
from seesame.db import conversion
from seesame.db import migrate as migrations
from seesame.logs import configure_logging
from seesame.settings import Settings

_err = Console(stderr=True)
app = typer.Typer(help="The database's schema.", no_args_is_help=True)


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
