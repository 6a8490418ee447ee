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
from seesame.evaluating import MEASURES, Difference, Evaluation, Outcome, difference, figures
from seesame.evaluating import evaluate as measured

_err = Console(stderr=True)


def evaluate(
    space: Annotated[str | None, typer.Option(help="A space's key.", show_default="the one that answers")] = None,
    sample: Annotated[int, typer.Option(help="How many pictures to search by, each in every kind of damage.")] = 500,
    seed: Annotated[int, typer.Option(help="Another one draws other pictures, and damages them otherwise.")] = 0,
    save: Annotated[Path | None, typer.Option(help="Keep the outcomes in this file, to compare with later.")] = None,
    against: Annotated[Path | None, typer.Option(help="Compare with outcomes that were kept earlier.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page with plots.")] = None,
) -> None:
    """Measure how well photos find their product, by pictures of the catalogue, damaged as a phone's camera would.

    Of a product with several pictures one is the query and does not count as found; of a product with one, the query is
    its damaged copy. R@5 is the share of queries whose product is among the first five; MRR the mean of 1 / rank among
    the first ten. Save the outcomes before a change, and compare with them after it: the same seed searches by the same
    photos.
    """
    before = _earlier(against, seed) if against is not None else None
    with opened() as application:
        chosen, embedder = application.spaces.ready(space)
        with tables.bar(_err, "Searching", "pictures") as show:
            found = measured(application.trials, chosen, embedder, sample=sample, seed=seed, on_tried=show)
    console = Console()
    _print(console, found, before)
    if save is not None:
        charts.write(save, "save", found.to_json())
        console.print(f"The outcomes are in {save}", soft_wrap=True)
    if report is not None:
        charts.write(report, "report", charts.evaluation_page(found, before))
        console.print(f"The page is {report}", soft_wrap=True)


def _print(console: Console, found: Evaluation, before: Evaluation | None) -> None:
    console.print(charts.evaluation_title(found), soft_wrap=True, highlight=False)
    kinds = found.by_kind()
    console.print(_table("photo", kinds))
    console.print(_table("category, by camera", found.by_category()))
    console.print(charts.good_matches(found), soft_wrap=True, highlight=False)
    if before is not None:
        earlier = before.by_kind()
        console.print(f"\nCompared with {before.space}, with intervals of 95 %", soft_wrap=True, highlight=False)
        console.print(_differences({k: difference(outcomes, earlier.get(k, ())) for k, outcomes in kinds.items()}))


def _table(what: str, groups: dict[str, tuple[Outcome, ...]]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(what, overflow="fold")
    for column in ("queries", *MEASURES):
        table.add_column(column, justify="right")
    table.add_column("R@1")
    for name, outcomes in groups.items():
        shown = figures(outcomes)
        table.add_row(
            Text(name),
            str(shown.queries),
            *(f"{value:.3f}" for value in shown.values),
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


def _earlier(path: Path, seed: int) -> Evaluation:
    try:
        before = Evaluation.from_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput("against", f"Cannot read {str(path)!r}: {error.strerror}.") from error
    if before.seed != seed:
        raise InvalidInput("against", f"It was made with --seed {before.seed}; use the same.")
    return before
