"""`seesame duplicates`."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seesame.application import Application, open_application
from seesame.cli import tables
from seesame.db.duplicates import Member
from seesame.duplicates import MAX_GROUPS, DuplicateGroup, Step
from seesame.errors import InvalidInput
from seesame.logs import configure_logging
from seesame.settings import Settings
from seesame.types import DuplicateKind

_COLUMNS = (
    "group", "kind", "products", "placeholder", "product_id", "title", "image_id", "source", "distance", "similarity"
)  # fmt: skip
_LANES = 4  # fewer than the pool has connections
_SHOWN = 6  # pictures of a group in the table
_err = Console(stderr=True)


def duplicates(
    kind: Annotated[DuplicateKind | None, typer.Option(help="Only these.", show_default="all three")] = None,
    product: Annotated[str | None, typer.Option(help="Only groups with a picture of this product.")] = None,
    placeholders: Annotated[
        bool, typer.Option("--placeholders", help='Show pictures such as "no photo" that stand for many products.')
    ] = False,
    min_products: Annotated[
        int | None, typer.Option(min=2, help="Of how many, with --placeholders.", show_default="10, or the setting")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_GROUPS, help="How many groups to show, at most.")] = 20,
    csv_to: Annotated[Path | None, typer.Option("--csv", help="Write all groups to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the API would give.")] = False,
    update: Annotated[
        bool, typer.Option("--update/--no-update", help="Compare new pictures first, or show what is known.")
    ] = True,
) -> None:
    """Find pictures that are in several products: the same, nearly the same, or alike.

    exact: the same file. near: the same picture, resized, recompressed, brightened or cropped a little.
    lookalike: other pictures that look alike, such as the same article photographed again. Pictures of one product
    are not compared with each other.

    Only pictures that are new since the last time are compared; if it is cut short, run it again. `seesame up` and
    workers do the same now and then.
    """
    settings = Settings.read()
    configure_logging(settings.log_level, settings.log_format)
    with open_application(settings) as application:
        if update:
            _update(application)
        if csv_to is not None:
            _write(csv_to, _all(application, kind, product))
        elif placeholders:
            _show_placeholders(application, min_products, limit, as_json=as_json)
        else:
            _show_groups(application, kind, product, limit, as_json=as_json)
        waiting = application.duplicates.waiting()
    if waiting:
        _err.print(f"{waiting:,} pictures are not compared yet, for want of a vector; run: seesame index")


def _update(application: Application) -> None:
    with tables.bars(_err, ("Reading pictures", "pictures"), ("Comparing", "pictures")) as [read, compared]:
        shows = {"pictures": read, "vectors": compared}

        def progressed(step: Step, done: int, total: int) -> None:
            shows[step](done, total)

        if not application.duplicates.update(lanes=min(_LANES, os.cpu_count() or 1), on_progress=progressed):
            _err.print("Another process is comparing; this is what was known before.")


def _all(application: Application, kind: DuplicateKind | None, product: str | None) -> Iterator[DuplicateGroup]:
    offset = 0
    while found := application.duplicates.groups(
        kind, product_id=product, limit=MAX_GROUPS, offset=offset, shown=None
    ).groups:
        yield from found
        offset += len(found)


def _write(path: Path, groups: Iterator[DuplicateGroup]) -> None:
    written = 0
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for found in groups:
                writer.writerows(_record(found, member) for member in found.members)
                written += 1
    except OSError as error:
        raise InvalidInput("csv", f"Cannot write {str(path)!r}: {error.strerror}.") from error
    Console().print(f"{written:,} groups are in {path}", soft_wrap=True, highlight=False)


def _record(found: DuplicateGroup, member: Member) -> tuple[object, ...]:
    group, image = found.group, member.image
    return (
        group.group_id, group.kind, group.products, "yes" if found.placeholder else "no",
        image.product_id, member.title, image.image_id, image.source, member.distance, f"{member.similarity:.4f}",
    )  # fmt: skip


def _show_groups(
    application: Application, kind: DuplicateKind | None, product: str | None, limit: int, *, as_json: bool
) -> None:
    console = Console()
    found = application.duplicates.groups(kind, product_id=product, limit=limit)
    if as_json:
        from seesame.api.duplicates import DuplicatesOut  # with FastAPI, which nothing else here needs

        console.print_json(json.dumps(DuplicatesOut.of(found).model_dump(mode="json")))
        return
    table = _table("kind", "products", "product", "title", "differs by", "similarity")
    for one in found.groups:
        group = one.group
        name = Text(group.kind) + Text(" (placeholder?)" if one.placeholder else "", style="yellow")
        for place, member in enumerate(one.members[:_SHOWN]):
            table.add_row(
                name if place == 0 else "",
                f"{group.products:,}" if place == 0 else "",
                Text(member.image.product_id),
                Text(member.title),
                f"{member.distance} bits" if member.distance else "",
                f"{member.similarity:.3f}",
            )
        more = group.pictures - min(_SHOWN, len(one.members))
        table.add_row("", "", f"… {more:,} more" if more else "", end_section=True)
    if found.groups:
        console.print(table)
    console.print(f"{found.total:,} groups, {len(found.groups):,} shown", style="dim", highlight=False)


def _show_placeholders(application: Application, at_least: int | None, limit: int, *, as_json: bool) -> None:
    console = Console()
    found, total, run = application.duplicates.placeholders(at_least=at_least, limit=limit)
    if as_json:
        from seesame.api.duplicates import PlaceholdersOut

        console.print_json(json.dumps(PlaceholdersOut.of(found, total, run).model_dump(mode="json")))
        return
    reasons = {
        "same_picture": "the same picture",
        "near_picture": "nearly the same picture",
        "uniform": "of one colour",
    }
    table = _table("products", "why", "one of them", "image")
    for one in found:
        image = one.image
        table.add_row(f"{one.products:,}", reasons[one.reason], Text(image.product_id), str(image.image_id))
    if found:
        console.print(table)
    console.print(f"{total:,} pictures stand for many products or show nothing", style="dim", highlight=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in ("products", "similarity", "differs by") else "left")
    return table
