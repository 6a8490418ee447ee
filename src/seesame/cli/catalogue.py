"""`seesame import`, `seesame index`, `seesame search`."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from seesame.application import Application, open_application
from seesame.cli import tables
from seesame.errors import DeletionRefused, InvalidInput, ModelError
from seesame.filters import parse_filter
from seesame.images import read_file
from seesame.importing import Summary
from seesame.indexing import Progress
from seesame.logs import configure_logging
from seesame.queries import LikeProduct, Photo, Query, Words
from seesame.records import count_records, read_records
from seesame.settings import Settings
from seesame.syncing import Unnamed

_err = Console(stderr=True)


def import_(
    paths: Annotated[list[Path], typer.Argument(help="Folders of pictures, .csv or .jsonl files.")],
    index_after: Annotated[bool, typer.Option("--index/--no-index", help="Embed the new pictures as well.")] = True,
    sync: Annotated[
        bool, typer.Option("--sync", help="Also delete the products that none of the paths names, when all were read.")
    ] = False,
    delete_any: Annotated[
        bool,
        typer.Option("--delete-any", help="Let --sync delete more than 30 %, and beside lines that cannot be read."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would happen to products. Writes nothing, fetches nothing.")
    ] = False,
) -> None:
    """Bring products and their pictures into the catalogue. Running it again changes only what changed.

    In a folder each picture is a product, and the name of the first sub-folder is its category. A table has the
    columns product_id, title, description, category, brand, price, currency, url, image (a path or a URL; several as
    `images`, parted by |); every other column becomes an attribute. Ends with exit code 1 if a line failed; all
    others are imported.
    """
    with opened() as application:
        unnamed = Unnamed(application.catalogue.ids()) if sync else None
        summary = import_paths(application, paths, unnamed=unnamed, dry_run=dry_run)
        refused = _synced(application, unnamed, summary, force=delete_any, dry_run=dry_run) if unnamed else None
        if dry_run:
            _err.print("This would happen; nothing was written:")
        tables.import_summary(_err, summary)
        if refused:
            _err.print(Text(f"{refused} With --delete-any they are deleted."), soft_wrap=True)
        if index_after and not dry_run:
            index_all(application)
    if summary.errors or refused:
        raise typer.Exit(1)


def index(
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try images that failed once more.")] = False,
) -> None:
    """Compute the vectors that images lack, in every space whose model is here."""
    with opened() as application:
        if retry_failed:
            _err.print(f"{application.indexer.retry_failed()} images are tried again.")
        runs = index_all(application)
        for run in runs:
            if run.paused:
                _err.print(Text(f"The CLIP service cannot be used now; {run.space} is not complete. Run it again."))
        if not any(run.done or run.failed or run.paused for run in runs):
            _err.print("Every image has its vector.")
        failures = application.indexer.failures()
        for failure in failures:
            _err.print(Text(f"✗ {failure.product_id} {failure.image_id}: {failure.error_code}"))
    if failures:
        raise typer.Exit(1)


def search(
    photo: Annotated[Path | None, typer.Argument(help="A picture.", show_default=False)] = None,
    text: Annotated[str | None, typer.Option(help="Words instead of a picture.")] = None,
    similar_to: Annotated[str | None, typer.Option(help="A product's id instead of a picture.")] = None,
    limit: Annotated[int, typer.Option(help="How many products, at most.")] = 10,
    category: Annotated[list[str] | None, typer.Option(help="Only products of this category; may repeat.")] = None,
    max_price: Annotated[float | None, typer.Option(help="Only products of at most this price.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as the API gives it.")] = False,
) -> None:
    """Find products that look like a picture, a description or another product."""
    if sum(subject is not None for subject in (photo, text, similar_to)) != 1:
        raise InvalidInput("photo", "Name one of: a picture, --text, --similar-to.")
    wanted: dict[str, object] = {"category": category} if category else {}
    if max_price is not None:
        wanted["price"] = {"lte": max_price}
    query = Query(parse_filter(wanted), limit=limit)
    console = Console()
    with opened(to_fill=False) as application:
        if photo is not None:
            answer = application.search.find(Photo(_read(photo, application)), query)
        elif text is not None:
            answer = application.search.find(Words(text), query)
        else:
            assert similar_to is not None
            answer = application.search.find(LikeProduct(similar_to), query)
        if as_json:
            from seesame.api.search_schemas import AnswerOut  # with FastAPI, which nothing else here needs

            console.print_json(json.dumps(AnswerOut.of(answer).model_dump(mode="json", exclude={"query_id"})))
            return
        if answer.page.hits:
            console.print(tables.results(console, answer, application.catalogue))
        console.print(tables.caption(answer), style="dim", highlight=False)
        waiting = next(s.missing for s in application.spaces.states() if s.space.key == answer.space)
        if waiting:
            _err.print(f"{waiting:,} images are not indexed yet and cannot be found; run: seesame index")


def import_paths(
    application: Application, paths: list[Path], *, unnamed: Unnamed | None = None, dry_run: bool = False
) -> Summary:
    """Imports paths with a progress bar, or rehearses that; `unnamed` follows the records."""
    records = itertools.chain.from_iterable([read_records(path) for path in paths])
    total = sum(count_records(path) for path in paths)
    done = 0
    with tables.bar(_err, "Importing", "products") as show:

        def progressed(count: int) -> None:
            nonlocal done
            done += count
            show(done, max(total, done))

        run = application.importer.rehearse if dry_run else application.importer.run
        return run(unnamed.following(records) if unnamed else records, progressed)


def _synced(
    application: Application, unnamed: Unnamed, summary: Summary, *, force: bool, dry_run: bool
) -> DeletionRefused | None:
    """Deletes what no record named, counted into `summary`; or why it was not."""
    try:
        if not force:
            unnamed.check()
    except DeletionRefused as refused:
        return refused
    if dry_run:
        summary.products_deleted = len(unnamed.product_ids)
        return None
    with tables.bar(_err, "Deleting", "products") as show:
        for count in application.importer.delete(unnamed.product_ids):
            summary.products_deleted += count
            show(summary.products_deleted, len(unnamed.product_ids))
    return None


def index_all(application: Application) -> list[Progress]:
    """Indexes what lacks a vector, with progress bars for the images and for the build of an index."""
    spaces: dict[str, Progress] = {}
    with tables.bars(_err, ("Indexing", "images"), ("Building the index", "vectors")) as [show, built]:

        def progressed(progress: Progress) -> None:
            spaces[progress.space] = progress
            done = sum(p.done + p.failed for p in spaces.values())
            show(done, max(done, sum(p.total for p in spaces.values())))

        progress = application.indexer.run_once(progressed, lambda build: built(build.done, build.total), finish=True)
        total = max(1, sum(p.total for p in progress))
        show(total, total)  # other workers may have done a part
        return progress


@contextmanager
def opened_bare() -> Iterator[Application]:
    """The application, without any model but the built-in one."""
    settings = Settings.read()
    configure_logging(settings.log_level, settings.log_format)
    with open_application(settings) as application:
        yield application


@contextmanager
def opened(*, to_fill: bool = True) -> Iterator[Application]:
    """The application, with its models loaded where they are in the cache; without `to_fill` only what answers."""
    with opened_bare() as application:
        try:
            if not application.use_model(to_fill=to_fill) and application.clip is not None:
                _err.print("Note: the CLIP service is not available. The built-in model answers.")
        except ModelError as error:
            _err.print(Text(f"Note: {error} The built-in model answers."))
        yield application


def _read(path: Path, application: Application) -> bytes:
    try:
        return read_file(path, limits=application.settings.image_limits)
    except OSError as error:
        raise InvalidInput("photo", f"Cannot read {str(path)!r}: {error.strerror}.") from error
