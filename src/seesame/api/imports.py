"""Imports of whole files, as jobs."""

import csv
import io
from datetime import datetime
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from seesame.api.parameters import App, PageLimit, PageOffset
from seesame.api.uploads import ReceivedFile, receive_file
from seesame.db.jobs import Job, LineError
from seesame.errors import UnsupportedFile
from seesame.http.problems import described
from seesame.jobs import MAX_ERRORS, Format

PATH = "/v1/imports"
SHOWN_ERRORS = 100

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",  # how the cells are parted is read from the header
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
}
_CSV = "product_id,title,price,currency,color\nUMB-100,Travel umbrella,19.90,EUR,red\n"
_JSON_LINES = '{"product_id": "UMB-101", "title": "Golf umbrella", "color": ["red", "white"]}\n'
_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "properties": {"file": _FILE | {"examples": [_CSV]}}, "required": ["file"]}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {"schema": _FILE, "example": _CSV},
            "application/x-ndjson": {"schema": _FILE, "example": _JSON_LINES},
            "multipart/form-data": {"schema": _FORM, "encoding": {"file": {"contentType": "text/csv"}}},
        },
    }
}

JobId = Annotated[UUID, Path(examples=["0b9e6c1d-5a5f-4f3e-8a57-2f6d1f0a9c34"])]

router = APIRouter(tags=["imports"])


class CountsOut(BaseModel):
    """What an import has done so far."""

    products_created: int = 0
    products_updated: int = 0
    products_unchanged: int = 0
    products_deleted: int = 0
    images_added: int = 0
    images_unchanged: int = 0


class LineErrorOut(BaseModel):
    """What was wrong with a line, or with a picture of it."""

    model_config = ConfigDict(from_attributes=True)

    line: int | None
    product_id: str | None
    code: str
    message: str


class JobListedOut(BaseModel):
    """A job and how far it is."""

    id: UUID
    kind: Literal["import"] = "import"
    mode: Literal["merge", "sync"]
    filename: str | None
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    total: int = Field(description="Records; about, until the job has succeeded.")
    done: int = Field(description="Records that were read and written, or had an error.")
    succeeded: int
    failed: int = Field(description="Records with an error. Their products are imported if a picture alone is wrong.")
    counts: CountsOut
    errors_total: int = Field(description="A record may have several.")
    message: str | None = Field(description="Why the job failed.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, job: Job, **more: Any) -> Self:
        """From the service."""
        return cls(
            id=job.job_id,
            mode=job.mode,
            filename=job.filename,
            status=job.status,
            total=job.total,
            done=job.done,
            succeeded=job.done - job.failed,
            failed=job.failed,
            counts=CountsOut(**job.counts),
            errors_total=job.errors_total,
            message=job.message,
            created_at=job.created_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
            **more,
        )


class JobOut(JobListedOut):
    """A job with its first errors."""

    errors: list[LineErrorOut] = Field(description=f"The first {SHOWN_ERRORS}.")


class JobsOut(BaseModel):
    """Some jobs, and how many there are."""

    jobs: list[JobListedOut]
    total: int


class _Csv(Response):
    media_type = "text/csv"


@router.post(
    PATH,
    status_code=202,
    openapi_extra=_BODY,
    responses=described(429)
    | {202: {"headers": {"Location": {"description": "The job.", "schema": {"type": "string"}}}}},
)
async def import_file(
    app: App,
    request: Request,
    response: Response,
    mode: Annotated[
        Literal["merge", "sync"],
        Query(description="`sync` deletes the products that the file does not name, when all of it was read."),
    ] = "merge",
    force: Annotated[
        bool, Query(description="Let `sync` delete more than 30 % of the products, and beside lines it cannot read.")
    ] = False,
) -> JobOut:
    """Imports a CSV or JSON Lines file: the body itself, or the multipart part `file`. Pictures are named by URLs."""
    with await run_in_threadpool(app.jobs.upload) as upload:
        received = await receive_file(request, upload.write)
        job = await run_in_threadpool(
            app.jobs.submit,
            upload,
            format=_format(received),
            mode=mode,
            force=force,
            filename=_shown(received.filename),
        )
    response.headers["Location"] = f"/v1/jobs/{job.job_id}"
    return JobOut.of(job, errors=[])


@router.get("/v1/jobs")
def list_jobs(
    app: App,
    limit: PageLimit = 24,
    offset: PageOffset = 0,
) -> JobsOut:
    """Jobs of the last two weeks, the newest first."""
    jobs, total = app.jobs.page(limit=limit, offset=offset)
    return JobsOut(jobs=[JobListedOut.of(job) for job in jobs], total=total)


@router.get("/v1/jobs/{job_id}")
def get_job(app: App, job_id: JobId) -> JobOut:
    """One job, with its first errors."""
    return _detailed(app, app.jobs.get(job_id))


@router.get("/v1/jobs/{job_id}/errors", response_class=_Csv)
def get_job_errors(app: App, job_id: JobId) -> Response:
    """The errors of a job as CSV: line, product_id, code, message. At most 10,000 are kept."""
    job = app.jobs.get(job_id)
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(LineError._fields)
    writer.writerows(app.jobs.errors(job_id, limit=MAX_ERRORS))
    return _Csv(table.getvalue(), headers={"Content-Disposition": f'attachment; filename="errors-{job.job_id}.csv"'})


@router.post("/v1/jobs/{job_id}/cancel")
def cancel_job(app: App, job_id: JobId) -> JobOut:
    """Ends a job that waits or runs. What it has imported stays; a job that has ended is left as it is."""
    return _detailed(app, app.jobs.cancel(job_id))


def _detailed(app: App, job: Job) -> JobOut:
    errors = app.jobs.errors(job.job_id, limit=SHOWN_ERRORS)
    return JobOut.of(job, errors=[LineErrorOut.model_validate(error) for error in errors])


def _format(file: ReceivedFile) -> Format:
    """By the name if it says it, else by the type."""
    suffix = PurePath(file.filename or "").suffix.lower()
    found = _FORMATS.get(suffix) or _FORMATS.get(file.content_type)
    if found is None:
        raise UnsupportedFile(
            "Send CSV as text/csv or JSON Lines as application/x-ndjson, or a file whose name ends in .csv, .tsv or"
            " .jsonl."
        )
    return found


def _shown(filename: str | None) -> str | None:
    """A name that may be shown: no path, nothing that turns text around."""
    last = (filename or "").replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in last if character.isprintable())[:200] or None
