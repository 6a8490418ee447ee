"""`seesame doctor`: what is installed, what answers, what is missing."""

import platform
from importlib import metadata

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seesame import __version__
from seesame.application import Application, open_application
from seesame.cli.tables import REASONS
from seesame.db import conversion, health
from seesame.db.pool import pgvector_version
from seesame.errors import ModelError
from seesame.settings import Settings

_LOOK_S = 120.0  # at all vectors of a space
_LIBRARIES = ("onnxruntime", "pillow", "psycopg", "numpy")


def doctor() -> None:
    """Check the installation, the database and the spaces. Exit code 1 if something needs a hand."""
    settings = Settings.read()
    console = Console()
    faults: list[str] = []
    table = Table(box=None, show_header=False, pad_edge=False)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES)
    table.add_row("Seesame", f"{__version__} on Python {platform.python_version()} ({versions})")
    table.add_row("settings", f"model {settings.model}, precision {settings.precision}")
    table.add_row("data", str(settings.data_dir))
    with open_application(settings) as application:
        try:
            note = _model_note(application)
        except ModelError as error:
            note = str(error)
            faults.append(note)
        table.add_row("model", note)
        faults += _database_rows(application, table)
        faults += _space_rows(application, table)
        failures = application.indexer.failures(limit=1000)
        if failures:
            faults.append(f"{len(failures)} images failed; see and retry them with: seesame index --retry-failed")
    console.print(table)
    for fault in faults:
        console.print(Text.assemble(("⚠  ", "yellow"), fault))
    if faults:
        raise typer.Exit(1)
    console.print("[green]✓[/] All is well.")


def _model_note(application: Application) -> str:
    usable = application.use_model()
    if application.clip is not None:
        return f"from the CLIP service, which is {'available' if usable else 'not available'}"
    return "loaded" if usable else f"not here; get it with: seesame models pull {application.settings.model}"


def _database_rows(application: Application, table: Table) -> list[str]:
    with application.database.transaction() as connection:
        kind = "embedded" if application.settings.database_url is None else "DATABASE_URL"
        version = connection.info.server_version
        table.add_row("PostgreSQL", f"{version // 10_000}.{version % 10_000} ({kind})")
        pgvector = pgvector_version(connection)
        faults = health.extension_faults(connection)
    table.add_row("pgvector", pgvector or "not available, or older than 0.8: search is exact")
    products, images = application.catalogue.totals()
    table.add_row("catalogue", f"{products:,} products, {images:,} images")
    return faults


def _space_rows(application: Application, table: Table) -> list[str]:
    faults = [
        f"{space.key} was made before pgvector came, and is searched without it; run: seesame db migrate"
        for space in conversion.due(application.database)
    ]
    for state in application.spaces.states():
        space = state.space
        index = {True: f"HNSW index, ef_search {space.ef_search}", False: "invalid index", None: "exact, without index"}
        if space.role != "retired":
            table.add_row(
                f"space ({space.role})",
                f"{space.key}: {state.vectors:,} vectors, {state.missing:,} images without one, "
                + index[state.index_is_valid],
            )
            if state.missing and state.loaded:
                faults.append(f"{state.missing:,} images lack their vector in {space.key}; run: seesame index")
            if state.index_is_valid is False:
                faults.append(f"The index of {space.key} is invalid; run: seesame index")
            with application.database.transaction(timeout_s=_LOOK_S) as connection:
                faults += health.space_faults(connection, space)
    answering = application.spaces.answering()
    reason = f" ({REASONS[answering.degraded_reason]})" if answering.degraded_reason else ""
    table.add_row("answers from", f"{answering.space.key}{reason}")
    return faults
