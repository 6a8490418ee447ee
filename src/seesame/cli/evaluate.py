"""`seesame eval`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seesame.cli import charts, tables
from seesame.cli.catalogue import opened
from seesame.errors import InvalidInput
from seesame.evaluating import (
    MEASURES,
    Difference,
    Evaluation,
    Evaluator,
    Outcome,
    Target,
    difference,
    figures,
)
from seesame.images import ImageLimits, read_file
from seesame.records import PICTURE_SUFFIXES

_out = Console()
_err = Console(stderr=True)


def evaluate(
    space: Annotated[str | None, typer.Option(help="A space's key.", show_default="the one that answers")] = None,
    sample: Annotated[int, typer.Option(help="How many pictures to search by, each in every kind of damage.")] = 500,
    seed: Annotated[int, typer.Option(help="Another one draws other pictures, and damages them otherwise.")] = 0,
    target: Annotated[
        Target, typer.Option(help="What is to be found: the product, or others of its category.")
    ] = "product",
    foreign: Annotated[
        Path | None,
        typer.Option(
            help="A folder of pictures of nothing that you sell, to tell good matches from none.",
            show_default="noise, gradients and clutter",
        ),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the outcomes in this file, to compare with later.")] = None,
    against: Annotated[Path | None, typer.Option(help="Compare with outcomes that were kept earlier.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page with plots.")] = None,
) -> None:
    """Measure how well photos find their product, by pictures of the catalogue, damaged as a phone's camera would.

    Of a product with several pictures one is the query and is left out of the search; of a product with one, the query
    is its damaged copy. R@5 is the share of queries whose product is among the first five; MRR the mean of 1 / rank
    among the first ten. Save the outcomes before a change, and compare with them after it: the same seed searches by
    the same pictures.
    """
    before = _earlier(against, target, seed) if against is not None else None
    with opened() as application:
        chosen, embedder = application.spaces.ready(space)
        evaluator = Evaluator(application.database, application.pictures, application.search)
        strange = _pictures(foreign, application.settings.image_limits) if foreign is not None else ()
        with tables.bar(_err, "Searching", "pictures") as show:
            found = evaluator.run(
                chosen, embedder, sample=sample, seed=seed, target=target, foreign_pictures=strange, on_evaluated=show
            )
    _print(found, before)
    if save is not None:
        charts.write(save, "save", found.to_json())
        _out.print(f"The outcomes are in {save}", soft_wrap=True)
    if report is not None:
        charts.write(report, "report", charts.evaluation_page(found, before))
        _out.print(f"The page is {report}", soft_wrap=True)


def _print(found: Evaluation, before: Evaluation | None) -> None:
    _out.print(charts.evaluation_title(found), soft_wrap=True, highlight=False)
    kinds = found.by_kind()
    _out.print(_table("photo", kinds))
    _out.print(_table("category, damaged", found.by_category()))
    _out.print(charts.good_matches(found), soft_wrap=True, highlight=False)
    if before is not None:
        earlier = before.by_kind()
        _out.print(f"\nCompared with {before.space}, with intervals of 95 %", soft_wrap=True, highlight=False)
        _out.print(_differences({k: difference(outcomes, earlier.get(k, ())) for k, outcomes in kinds.items()}))


def _table(what: str, groups: dict[str, tuple[Outcome, ...]]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(what, overflow="fold")
    for column in ("queries", *MEASURES, "good match"):
        table.add_column(column, justify="right")
    table.add_column("R@1")
    for name, outcomes in groups.items():
        shown = figures(outcomes)
        table.add_row(
            Text(name),
            str(shown.queries),
            *(f"{value:.3f}" for value in shown.values),
            "" if shown.good_match is None else f"{shown.good_match:.0%}",
            charts.bar(shown.values[0], 1.0),
        )
    return table


def _differences(groups: dict[str, Difference | None]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("photo", "queries", *MEASURES):
        table.add_column(column, justify="left" if column == "photo" else "right")
    for name, change in groups.items():
        if change is not None:
            table.add_row(name, str(change.queries), *map(_change, change.values, change.intervals))
    return table


def _change(value: float, interval: tuple[float, float]) -> Text:
    low, high = interval
    style = "green" if low > 0 else "red" if high < 0 else ""
    return Text(charts.change(value, interval), style=style)


def _pictures(folder: Path, limits: ImageLimits) -> list[bytes]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
        pictures = [read_file(path, limits=limits) for path in paths]
    except OSError as error:
        raise InvalidInput("foreign", f"Cannot read {str(folder)!r}: {error.strerror}.") from error
    if not pictures:
        raise InvalidInput("foreign", f"There is no picture in {str(folder)!r}.")
    return pictures


def _earlier(path: Path, target: Target, seed: int) -> Evaluation:
    try:
        before = Evaluation.from_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput("against", f"Cannot read {str(path)!r}: {error.strerror}.") from error
    if (before.target, before.seed) != (target, seed):
        raise InvalidInput("against", f"It was made with --target {before.target} --seed {before.seed}; use the same.")
    return before
