"""`seesame models`."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from seesame.cli import tables
from seesame.models import hub
from seesame.models.clip import ClipModel
from seesame.settings import Settings

app = typer.Typer(help="CLIP models: which there are, which are here.", no_args_is_help=True)
_err = Console(stderr=True)

Name = Annotated[
    str | None,
    typer.Argument(help="A curated name, a hub repository or a folder.", show_default="SEESAME_MODEL"),
]


@app.command("list")
def list_() -> None:
    """Show the models known by name."""
    settings = Settings.read()
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("", "name", "dimensions", "size", "licence", "here", "repository"):
        table.add_column(column, justify="right" if column in ("dimensions", "size") else "left")
    for model in hub.CURATED.values():
        here = hub.locate(model.name, cache_dir=settings.cache_dir, precision=settings.precision) is not None
        table.add_row(
            "→" if model.name == settings.model else "",
            model.name,
            str(model.dimensions),
            f"{model.size_mb} MB",
            model.licence,
            "yes" if here else "no",
            model.repository,
        )
    Console().print(table)


@app.command()
def pull(name: Name = None) -> None:
    """Download a model into the cache, resuming what was begun."""
    settings = Settings.read()
    wanted = name or settings.model
    with tables.bar(_err, f"Downloading {wanted}", "bytes") as show:
        folder = hub.pull(wanted, cache_dir=settings.cache_dir, precision=settings.precision, progress=show)
    Console().print(f"{wanted} is here: {folder}", soft_wrap=True)


@app.command()
def show(name: Name = None) -> None:
    """Load a model from the cache and show what it is."""
    settings = Settings.read()
    wanted = name or settings.model
    folder = hub.locate(wanted, cache_dir=settings.cache_dir, precision=settings.precision)
    if folder is None:
        _err.print(f"{wanted} is not here. Get it with: seesame models pull {wanted}")
        raise typer.Exit(1)
    model = ClipModel.load(folder, name=wanted, precision=settings.precision, cache_dir=settings.cache_dir)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("space", model.identity.key)
    table.add_row("digest", model.identity.digest)
    table.add_row("dimensions", str(model.identity.dimensions))
    table.add_row("reads text", "yes" if model.has_text else "no")
    table.add_row("preprocessing", str(model.preprocessing))
    table.add_row("folder", str(folder))
    Console().print(table)
