"""`seesame spaces`: changing the model while the shop goes on."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seesame.application import Application
from seesame.cli import charts, report, tables
from seesame.cli.catalogue import opened_bare
from seesame.comparing import Agreement, Comparer, Comparison
from seesame.indexing import Progress
from seesame.spaces import SpaceState
from seesame.types import Space

app = typer.Typer(
    help="The spaces, one for each model: change the model while the shop goes on answering.", no_args_is_help=True
)
_out = Console()
_err = Console(stderr=True)

Key = Annotated[
    str | None,
    typer.Argument(help="A space by its key, or by its model's name.", show_default="the new candidate"),
]


@app.command("list")
def list_() -> None:
    """Show every space: its role, how far it is filled, and what it takes on the disk."""
    with opened_bare() as application:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for column in ("space", "role", "dimensions", "vectors", "missing", "index", "disk", "answered since"):
            table.add_column(
                column, justify="right" if column in ("dimensions", "vectors", "missing", "disk") else "left"
            )
        for state in application.spaces.states():
            table.add_row(*_row(state))
        _out.print(table)


@app.command()
def add(
    model: Annotated[str, typer.Argument(help="A curated name, a hub repository or a folder.", show_default=False)],
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Fill it now, or leave that to the processes that run.")
    ] = True,
) -> None:
    """Begin a space for another model, filled beside the one that answers. Downloads the model if need be.

    Searches go on with the present model, and new pictures go to both. Nothing switches by itself: look at it with
    `seesame spaces compare`, then `seesame spaces activate`. Run it again after it was cut short: it goes on where it
    was.
    """
    with opened_bare() as application:
        space = _registered(application, model)
        if not wait:
            _out.print(f"{space.key} is a {_role(space)}; the processes that have its model fill it.", soft_wrap=True)
            return
        run = _fill(application, space)
        state = next(state for state in application.spaces.states() if state.space.key == space.key)
        if run.paused:
            _err.print(Text(f"The CLIP service cannot be used now; {space.key} is not complete. Run it again."))
        elif state.missing:
            _err.print(f"{state.missing:,} images have no vector in it; see: seesame index --retry-failed")
        if run.paused or state.missing:
            raise typer.Exit(1)
        if state.space.role == "primary":
            _out.print(f"{space.key} is complete and answers.", soft_wrap=True)
        else:
            _out.print(
                f"{space.key} is complete. Compare it with: seesame spaces compare {space.key}\n"
                f"Let it answer with: seesame spaces activate {space.key}",
                soft_wrap=True,
            )


@app.command()
def compare(
    key: Key = None,
    queries: Annotated[int, typer.Option(help="How many products to search by.")] = 200,
    k: Annotated[int, typer.Option("-k", help="How many of the products found count.")] = 10,
    seed: Annotated[int, typer.Option(help="Another one draws other products.")] = 0,
    by_category: Annotated[
        bool, typer.Option("--by-category/--random", help="Draw of each category by its share, or of all.")
    ] = True,
    report_to: Annotated[
        Path | None, typer.Option("--report", help="Also write a page with the pictures, side by side.")
    ] = None,
) -> None:
    """Compare what a space finds with what is found now. Needs no model: the stored vectors are the queries."""
    with opened_bare() as application:
        comparer = Comparer(application.database, application.spaces, application.search)
        with tables.bar(_err, "Comparing", "queries") as show:
            compared = comparer.run(key, queries=queries, k=k, seed=seed, by_category=by_category, on_compared=show)
        _print(compared)
        if report_to is not None:
            _write(report_to, compared, application)


@app.command()
def activate(key: Key = None) -> None:
    """Let a space answer from now on. Refused while images lack their vector there.

    The one that answered stays, is filled on, and is brought back with `seesame spaces rollback`.
    """
    with opened_bare() as application, tables.bars(_err, ("Building the index", "vectors")) as [show]:
        space = application.spaces.activate(key, lambda build: show(build.done, build.total))
    _out.print(f"{space.key} answers from now on. Back with: seesame spaces rollback", soft_wrap=True)


@app.command()
def rollback() -> None:
    """Let the space that answered before answer again."""
    with opened_bare() as application:
        space = application.spaces.rollback()
    _out.print(f"{space.key} answers again.", soft_wrap=True)


@app.command()
def retire(
    key: Annotated[str, typer.Argument(help="A space by its key, or by its model's name.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """End a space that does not answer, and delete its vectors. Adding its model again computes all of them anew."""
    with opened_bare() as application:
        space = application.spaces.find(key)
        if not yes:
            typer.confirm(f"Delete all vectors of {space.key}?", abort=True, err=True)
        application.spaces.retire(space.key)
    _out.print(f"{space.key} was retired.", soft_wrap=True)


def _registered(application: Application, model: str) -> Space:
    with tables.bars(_err, (f"Downloading {model}", "bytes")) as [show]:
        return application.add_space(model, show)


def _fill(application: Application, space: Space) -> Progress:
    with tables.bars(_err, ("Indexing", "images"), ("Building the index", "vectors")) as [images, vectors]:
        run = application.indexer.complete(
            space.key,
            lambda progress: images(progress.done + progress.failed, progress.total),
            lambda build: vectors(build.done, build.total),
        )
        total = max(1, run.total)
        images(total, total)  # other workers may have done a part
    return run


def _role(space: Space) -> str:
    return "former primary" if space.is_former else space.role


def _row(state: SpaceState) -> list[str]:
    space = state.space
    return [
        space.key,
        _role(space),
        str(space.dimensions),
        f"{state.vectors:,}",
        f"{state.missing:,}",
        {True: "yes", False: "invalid", None: "no"}[state.index_is_valid],
        f"{state.bytes / 1e6:,.1f} MB",
        space.activated_at.isoformat(" ", "seconds") if space.role == "primary" and space.activated_at else "",
    ]


def _print(compared: Comparison) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("category", "queries", f"overlap@{compared.k}", "same first"):
        table.add_column(column, justify="left" if column == "category" else "right")
    for category, agreement in compared.by_category().items():
        table.add_row(Text(category or "(none)"), *_figures(agreement))
    table.add_row(Text("all", style="bold"), *_figures(compared.agreement()))
    _out.print(f"{compared.old.key} (answers now) and {compared.new.key}", soft_wrap=True, highlight=False)
    _out.print(table)


def _figures(agreement: Agreement) -> list[str]:
    return [str(agreement.queries), f"{agreement.overlap:.3f}", f"{agreement.same_first:.3f}"]


def _write(path: Path, compared: Comparison, application: Application) -> None:
    with tables.bar(_err, "Writing the page", "queries") as show:
        page = report.page(compared, application.catalogue, show)
    charts.write(path, "report", page)
    _out.print(f"The page is {path}", soft_wrap=True)
