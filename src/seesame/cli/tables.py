"""What the terminal shows: tables, pictures and bars."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import Image
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text
from rich_pixels import Pixels

from seesame.answers import Answer
from seesame.catalogue import Catalogue
from seesame.importing import Summary
from seesame.spaces import Reason
from seesame.types import Product

_THUMBNAIL = (12, 12)  # terminal cells are twice as high as wide and show two pixels each
_SHOWN_ERRORS = 50

REASONS: dict[Reason, str] = {
    "clip_unavailable": "no CLIP model is here, so the smaller built-in model answered",
    "clip_timeout": "the CLIP model took too long, so the smaller built-in model answered",
    "clip_busy": "the CLIP model was busy, so the smaller built-in model answered",
    "clip_downloading": "the CLIP model is being downloaded; until then the smaller built-in model answers",
    "clip_indexing": "the CLIP model is indexing; until then the smaller built-in model answers",
    "no_text_model": "no model that reads is here, so words were matched with the products' texts",
}


def results(console: Console, answer: Answer, catalogue: Catalogue) -> Table:
    """Products found, with small pictures where the terminal has the colours for them."""
    pictures = console.is_terminal and console.color_system == "truecolor"
    table = Table(box=None, header_style="dim", pad_edge=False)
    if pictures:
        table.add_column("")
    table.add_column("similarity", justify="right")
    table.add_column("product")
    table.add_column("title", overflow="fold")
    table.add_column("category")
    table.add_column("price", justify="right")
    for hit in answer.page.hits:
        cells: list[str | Text] = [
            "" if hit.similarity is None else f"{hit.similarity:.3f}",
            Text(hit.product.product_id),
            Text(hit.product.title),
            Text(hit.product.category or ""),
            price(hit.product),
        ]
        if pictures:
            thumbnail = catalogue.picture(hit.image.image_id, thumbnail=True) if hit.image else None
            table.add_row(_pixels(thumbnail) if thumbnail else "", *cells)
        else:
            table.add_row(*cells)
    return table


def caption(answer: Answer) -> str:
    """One line about how an answer came to be."""
    found = f"{len(answer.page.hits)} products in {answer.took_ms:.0f} ms · {answer.page.method} · {answer.space}"
    return f"{found}\nNote: {REASONS[answer.degraded_reason]}." if answer.degraded_reason else found


def price(product: Product) -> str:
    """A price with its currency."""
    return "" if product.price is None else f"{product.price:,.2f} {product.currency or ''}".strip()


def import_summary(console: Console, summary: Summary) -> None:
    """What an import did, and each line that failed."""
    errors = sorted(summary.errors, key=lambda error: (error.file, error.line or 0))
    for error in errors[:_SHOWN_ERRORS]:
        where = error.file if error.line is None else f"{error.file}, line {error.line}, {error.product_id or '?'}"
        line = Text.assemble(("✗ ", "red"), f"{where}: {error.message} ", (f"({error.code})", "dim"))
        console.print(line, soft_wrap=True)
    if len(summary.errors) > _SHOWN_ERRORS:
        console.print(f"… and {len(summary.errors) - _SHOWN_ERRORS} more")
    deleted = f", {summary.products_deleted} deleted" if summary.products_deleted else ""
    console.print(
        f"Products: {summary.products_created} new, {summary.products_updated} changed,"
        f" {summary.products_unchanged} as before{deleted}. Pictures: {summary.images_added} new,"
        f" {summary.images_unchanged} as before. Errors: {len(summary.errors)}.",
        highlight=False,
    )


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="dim")


Show = Callable[[int, int | None], None]
"""Called with what is done and, once known, the total."""


@contextmanager
def bar(console: Console, description: str, unit: str) -> Iterator[Show]:
    """A progress bar with rate and time left; call it with what is done and, once known, the total."""
    with bars(console, (description, unit)) as [show]:
        show(0, None)
        yield show


@contextmanager
def bars(console: Console, *rows: tuple[str, str]) -> Iterator[list[Show]]:
    """Progress bars, each with its description and unit, that are seen from their first call on."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:

        def shown(description: str, unit: str) -> Show:
            task = progress.add_task(description, total=None, visible=False, unit=unit)
            return lambda done, total: progress.update(task, completed=done, total=total, visible=True)

        yield [shown(*row) for row in rows]


def _pixels(jpeg: bytes) -> Pixels:
    with Image.open(BytesIO(jpeg)) as image:
        image.thumbnail(_THUMBNAIL)
        pixels: Pixels = Pixels.from_image(image)
        return pixels
