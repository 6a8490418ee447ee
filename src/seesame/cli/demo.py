"""`seesame demo`: the whole thing on a catalogue that it draws."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from seesame.application import open_application
from seesame.cli import catalogue, tables
from seesame.cli.serve import serving
from seesame.demo.catalogue import draw_catalogue
from seesame.errors import SettingsError
from seesame.logs import configure_logging
from seesame.queries import Photo, Query
from seesame.settings import Settings


def demo(
    exit_after: Annotated[bool, typer.Option("--exit", help="Stop after printing the result.")] = False,
) -> None:
    """Draw a sample catalogue, import it, search it by a photo, and leave the page up.

    It has a data folder and an embedded PostgreSQL of its own, so nothing mixes with a real catalogue.
    """
    settings = Settings.read()
    if settings.database_url is not None:
        raise SettingsError("DATABASE_URL: the demo fills a database of its own; unset it.")
    settings = settings.model_copy(update={"data_dir": settings.data_dir / "demo"})
    configure_logging(settings.log_level, settings.log_format)
    console = Console()
    err = Console(stderr=True)
    with tables.bar(err, "Drawing", "pictures") as show:
        sample = draw_catalogue(settings.data_dir / "sample", progress=show)
    with open_application(settings) as application, serving(application, fetch_model=not exit_after) as server:
        summary = catalogue.import_paths(application, [sample.csv])
        tables.import_summary(err, summary)
        catalogue.index_all(application)
        photo = sample.queries[0].photo
        answer = application.search.find(Photo(photo.read_bytes()), Query(limit=5))
        console.print(f"\n[bold]Products that look like[/] {_short(photo)}\n", highlight=False, soft_wrap=True)
        console.print(tables.results(console, answer, application.catalogue))
        console.print(tables.caption(answer), style="dim", highlight=False)
        if summary.errors or not answer.page.hits:
            raise typer.Exit(1)
        if not exit_after:
            console.print(f"\nThe page is at [bold]{server.url}[/] (Ctrl-C ends it).", highlight=False)
            server.wait()


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
