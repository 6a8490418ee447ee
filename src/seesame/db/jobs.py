"""Imports that wait, run or have ended.

One runs at a time. Its lease ends by the database's clock and carries the token of its claim; whatever a batch writes
is committed together with the job's progress under that token. So a process that was thought dead, or whose job was
cancelled, can commit nothing any more, and no batch is counted twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from seesame.db.pool import Connection, scalar
from seesame.db.statements import statements

_SQL = statements("jobs")

Mode = Literal["merge", "sync"]
Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Job:
    """An import. `total` is an estimate until it has succeeded; `done` counts the records of committed batches."""

    job_id: UUID
    mode: Mode
    forced: bool
    filename: str | None
    format: str
    status: Status
    total: int
    done: int
    failed: int
    counts: Mapping[str, int]
    errors_total: int
    message: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class LineError(NamedTuple):
    """What was wrong with a line, or with a picture of it."""

    line: int | None
    product_id: str | None
    code: str
    message: str


class Progress(NamedTuple):
    """How far a job has come, in all."""

    done: int
    failed: int
    counts: Mapping[str, int]
    errors_total: int


def count_live(connection: Connection) -> int:
    """How many jobs wait or run."""
    return int(scalar(connection, _SQL["count_live"]))


def count_by_status(connection: Connection) -> dict[str, int]:
    """How many jobs there are of each status; none of those that no job has."""
    return dict(connection.execute(_SQL["count_by_status"]).fetchall())


def insert(
    connection: Connection,
    job_id: UUID,
    *,
    mode: Mode,
    forced: bool,
    filename: str | None,
    format: str,  # noqa: A002
    total: int,
    most: int,
) -> bool:
    """Adds a job unless `most` wait or run; whether it did."""
    values = {"mode": mode, "forced": forced, "filename": filename, "format": format, "total": total, "most": most}
    return connection.execute(_SQL["insert"], {"job_id": job_id, **values}).rowcount == 1


def get(connection: Connection, job_id: UUID) -> Job | None:
    """One job."""
    with connection.cursor(row_factory=class_row(Job)) as cursor:
        return cursor.execute(_SQL["get"], {"job_id": job_id}).fetchone()


def page(connection: Connection, *, limit: int, offset: int) -> tuple[list[Job], int]:
    """Jobs, the newest first, and how many there are."""
    with connection.cursor(row_factory=class_row(Job)) as cursor:
        jobs = cursor.execute(_SQL["list"], {"limit": limit, "offset": offset}).fetchall()
    return jobs, int(scalar(connection, _SQL["count"]))


def errors(connection: Connection, job_id: UUID, *, limit: int) -> list[LineError]:
    """The first errors of a job."""
    rows = connection.execute(_SQL["errors"], {"job_id": job_id, "limit": limit}).fetchall()
    return [LineError(*row) for row in rows]


def ended(connection: Connection, job_ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Those of the jobs that exist, with whether they have ended."""
    return dict(connection.execute(_SQL["ended"], {"job_ids": list(job_ids)}).fetchall())


def claim(connection: Connection, token: UUID, *, here: Sequence[UUID], lease_s: float) -> Job | None:
    """Leases the oldest waiting job of those in `here` to the holder of `token`; None while another one runs."""
    connection.execute(_SQL["one_at_a_time"])
    connection.execute(_SQL["expire"])
    job_id = scalar(connection, _SQL["claim"], {"token": token, "here": list(here), "lease_s": lease_s})
    return None if job_id is None else get(connection, job_id)


def renew(connection: Connection, job_id: UUID, token: UUID, *, lease_s: float) -> None:
    """Holds the lease for longer, where it is still held."""
    connection.execute(_SQL["renew"], {"job_id": job_id, "token": token, "lease_s": lease_s})


def advance(connection: Connection, job_id: UUID, token: UUID, progress: Progress) -> bool:
    """Writes down how far a leased job has come; whether the lease is still held."""
    values = progress._asdict() | {"counts": Jsonb(dict(progress.counts))}
    return connection.execute(_SQL["advance"], {"job_id": job_id, "token": token, **values}).rowcount == 1


def add_errors(connection: Connection, job_id: UUID, first: int, found: Sequence[LineError]) -> None:
    """Adds errors, of which the first gets the number `first`."""
    rows: list[dict[str, Any]] = [{"number": number, **e._asdict()} for number, e in enumerate(found, start=first)]
    connection.execute(_SQL["add_errors"], {"job_id": job_id, "errors": Jsonb(rows)})


def release(connection: Connection, job_id: UUID, token: UUID) -> None:
    """Lets a job wait to be taken up again."""
    connection.execute(_SQL["release"], {"job_id": job_id, "token": token})


def end(connection: Connection, job_id: UUID, token: UUID, status: Status, message: str | None = None) -> bool:
    """Ends a leased job; whether the lease was still held."""
    values = {"job_id": job_id, "token": token, "status": status, "message": message}
    return connection.execute(_SQL["end"], values).rowcount == 1


def cancel(connection: Connection, job_id: UUID) -> None:
    """Ends a job that waits or runs; from the commit on, whoever runs it can write nothing."""
    connection.execute(_SQL["cancel"], {"job_id": job_id})


def give_up(connection: Connection, *, days: int, message: str) -> None:
    """Fails jobs that nobody has taken up in so many days."""
    connection.execute(_SQL["give_up"], {"days": days, "message": message})


def forget(connection: Connection, *, days: int) -> None:
    """Forgets jobs that ended so many days ago, with their errors."""
    connection.execute(_SQL["forget"], {"days": days})
