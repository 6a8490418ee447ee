"""Imports of files that were sent: each is a job, which waits until `job_runner` has its turn for it.

The file is in the data folder, which all processes share that serve one catalogue.
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self
from uuid import UUID, uuid4

from seesame.db import jobs as rows
from seesame.db.jobs import Job, LineError, Mode
from seesame.db.pool import Database
from seesame.errors import JobsFull, NotFound, StorageFull
from seesame.files import make_folder, room, sync
from seesame.records import count_records

MAX_LIVE = 50  # jobs that wait or run
MAX_ERRORS = 10_000  # that are kept of one job

Format = Literal["csv", "jsonl"]


class Upload:
    """A file on its way in. It is deleted when the block ends, unless it was submitted."""

    def __init__(self, folder: Path) -> None:
        with room():
            self._file = tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part", delete=False)  # noqa: SIM115
        self.path = Path(self._file.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what could not be flushed is not wanted any more
            self._file.close()
        self.path.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Takes the next bytes.

        Raises:
            StorageFull: no room.
        """
        with room():
            self._file.write(data)

    def move(self, path: Path) -> None:
        """Gives the whole file its place; it is on the disk when this returns.

        Raises:
            StorageFull: no room.
        """
        with room():
            self._file.flush()
            os.fsync(self._file.fileno())
            self.path.replace(path)
            sync(path.parent)


class Jobs:
    """Takes files in, and tells how their imports are."""

    def __init__(self, database: Database, folder: Path, *, on_arrival: Callable[[], None]) -> None:
        make_folder(folder)
        self._database = database
        self._folder = folder
        self._on_arrival = on_arrival

    def counts(self) -> dict[str, int]:
        """How many there are, by status."""
        with self._database.transaction() as connection:
            return rows.count_by_status(connection)

    def upload(self) -> Upload:
        """Begins to take a file in.

        Raises:
            JobsFull: so many wait that it would be refused.
            StorageFull: no room.
        """
        with self._database.transaction() as connection:
            if rows.count_live(connection) >= MAX_LIVE:
                raise JobsFull
        return Upload(self._folder)

    def submit(
        self,
        upload: Upload,
        *,
        format: Format,  # noqa: A002
        mode: Mode = "merge",
        force: bool = False,
        filename: str | None = None,
    ) -> Job:
        """Makes a whole file a job.

        Args:
            force: a sync may delete any number of products.
            filename: only shown.

        Raises:
            JobsFull: too many wait.
            StorageFull: no room.
        """
        job_id = uuid4()
        path = self._folder / f"{job_id}.{format}"
        upload.move(path)
        try:
            total = count_records(path)
            with self._database.transaction() as connection:
                if not rows.insert(
                    connection, job_id, mode=mode, forced=force, filename=filename, format=format, total=total,
                    most=MAX_LIVE,
                ):  # fmt: skip
                    raise JobsFull
                job = rows.get(connection, job_id)
        except (JobsFull, StorageFull):  # after a lost connection the job may be there and needs its file
            path.unlink(missing_ok=True)
            raise
        assert job is not None
        self._on_arrival()
        return job

    def get(self, job_id: UUID) -> Job:
        """One job.

        Raises:
            NotFound: there is none, or it was forgotten.
        """
        with self._database.transaction() as connection:
            job = rows.get(connection, job_id)
        if job is None:
            raise NotFound("There is no such job.")
        return job

    def page(self, *, limit: int, offset: int = 0) -> tuple[list[Job], int]:
        """Jobs, the newest first, and how many there are."""
        with self._database.transaction() as connection:
            return rows.page(connection, limit=limit, offset=offset)

    def errors(self, job_id: UUID, *, limit: int = MAX_ERRORS) -> list[LineError]:
        """The first errors of a job."""
        with self._database.transaction() as connection:
            return rows.errors(connection, job_id, limit=limit)

    def cancel(self, job_id: UUID) -> Job:
        """Ends a job that waits or runs, at once: what it has not committed by now is never written.

        Raises:
            NotFound: there is none.
        """
        with self._database.transaction() as connection:
            rows.cancel(connection, job_id)
        job = self.get(job_id)
        path_of(self._folder, job).unlink(missing_ok=True)
        return job


def path_of(folder: Path, job: Job) -> Path:
    """Where the file of a job is, if it is in this folder."""
    return folder / f"{job.job_id}.{job.format}"
