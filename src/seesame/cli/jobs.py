"""`seesame jobs`: imports of files that were sent."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seesame.cli import tables
from seesame.cli.catalogue import opened_bare
from seesame.db.jobs import Job
from seesame.importing import Summary
from seesame.records import RecordError

app = typer.Typer(
    help="Imports of files that were sent to the API: see how they are, or end them.", no_args_is_help=True
)
_out = Console()

JobId = Annotated[UUID, typer.Argument(help="A job by its id, as `seesame jobs list` shows it.", show_default=False)]


@app.command("list")
def list_(limit: Annotated[int, typer.Option(min=1, max=200, help="How many jobs, at most.")] = 20) -> None:
    """Show the jobs of the last two weeks, the newest first."""
    with opened_bare() as application:
        jobs, total = application.jobs.page(limit=limit)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("job", "file", "mode", "status", "records", "failed", "sent"):
        table.add_column(column, justify="right" if column in ("records", "failed") else "left")
    for job in jobs:
        table.add_row(
            str(job.job_id),
            Text(job.filename or ""),
            job.mode,
            job.status,
            f"{job.done:,} of {job.total:,}",
            f"{job.failed:,}",
            _shown(job.created_at),
        )
    _out.print(table)
    if total > len(jobs):
        _out.print(f"… and {total - len(jobs):,} more")


@app.command()
def show(job_id: JobId) -> None:
    """Show one job with its errors. Exit code 1 if it failed or a record of it did."""
    with opened_bare() as application:
        job = application.jobs.get(job_id)
        errors = application.jobs.errors(job_id)
    _print(job)
    told = [RecordError(job.filename or "file", *error) for error in errors]
    tables.import_summary(_out, Summary(errors=told, **job.counts))
    if job.status == "failed" or job.failed:
        raise typer.Exit(1)


@app.command()
def cancel(job_id: JobId) -> None:
    """End a job that waits or runs. What it has imported stays."""
    with opened_bare() as application:
        _print(application.jobs.cancel(job_id))


def _print(job: Job) -> None:
    _out.print(f"{job.job_id}: {job.status}, {job.done:,} of {job.total:,} records", highlight=False, soft_wrap=True)
    if job.message:
        _out.print(Text(job.message), soft_wrap=True)


def _shown(moment: datetime) -> str:
    return moment.isoformat(" ", "seconds")
