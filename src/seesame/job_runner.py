"""Runs the imports that wait, one at a time, and goes on with those whose process ended.

A process takes up only jobs whose file it has. So where processes have folders of their own, against the advice, a job
is run by the one that received it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from uuid import UUID, uuid4

from seesame.catalogue import Catalogue
from seesame.db import jobs as rows
from seesame.db.jobs import Job, LineError
from seesame.db.pool import Connection, Database
from seesame.errors import DatabaseError, DeletionRefused, InvalidInput, JobEnded, StorageFull
from seesame.importing import COUNTED, Importer, Summary
from seesame.jobs import MAX_ERRORS, path_of
from seesame.records import read_records
from seesame.syncing import Unnamed

_log = logging.getLogger(__name__)

LEASE_S = 30.0
_POLL_S = 5.0  # for files that another process received
_MAX_ATTEMPTS = 5  # without a batch being committed
_DAYS = 14  # that a job is kept, and that its file is waited for
_SWEEP_S = 3600.0
_STRAY_S = 24 * 3600.0  # after which a file without a job is what a killed process left
_COUNTS = tuple(name for name in COUNTED if name not in ("records", "failed"))
_GONE = "Its file is not here any more. Send it again."
_BROKEN = "Something went wrong here; the log has the details."
_ENDLESS = f"The process that ran it ended {_MAX_ATTEMPTS} times at the same place of the file."


@dataclass(slots=True)
class _Claim:
    """A job that is leased to this process, and what has been done of it in all."""

    job: Job
    token: UUID
    totals: Summary
    errors: int

    def progress(self) -> rows.Progress:
        counts = {name: getattr(self.totals, name) for name in _COUNTS}
        return rows.Progress(self.totals.records, self.totals.failed, counts, self.errors)


class JobRunner:
    """Works through the jobs of a catalogue."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        importer: Importer,
        folder: Path,
        *,
        lease_s: float = LEASE_S,
        on_batch: Callable[[Summary], None] = lambda batch: None,  # noqa: ARG005 - nobody counts
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._importer = importer
        self._folder = folder
        self._lease_s = lease_s
        self._on_batch = on_batch
        self._stop = threading.Event()
        self._arrived = threading.Event()

    def wake(self) -> None:
        """Lets it look for jobs now."""
        self._arrived.set()

    def stop(self) -> None:
        """Ends a run after the batch at hand; its job waits for whoever takes it up."""
        self._stop.set()
        self._arrived.set()

    def run_forever(self) -> None:
        """Runs what waits until `stop` is called; waits out a database that is away or full."""
        waiting: str | None = None
        sweep_at = 0.0
        while not self._stop.is_set():
            try:
                if time.monotonic() >= sweep_at:
                    self.sweep()
                    sweep_at = time.monotonic() + _SWEEP_S
                while not self._stop.is_set() and self.run_next():
                    waiting = None
            except (DatabaseError, StorageFull) as error:
                if str(error) != waiting:
                    _log.warning("Imports wait: %s", error)
                waiting = str(error)
            self._arrived.wait(min(_POLL_S, self._lease_s / 2))
            self._arrived.clear()

    def run_next(self) -> bool:
        """Runs the oldest job that waits and whose file is here, unless another runs; whether there was one."""
        here = [job_id for path in self._folder.iterdir() if (job_id := _job_id(path)) is not None]
        if not here:
            return False
        token = uuid4()
        with self._database.transaction() as connection:
            job = rows.claim(connection, token, here=here, lease_s=self._lease_s)
        if job is None:
            return False
        totals = Summary(records=job.done, failed=job.failed, errors=[], **job.counts)
        self._run(_Claim(job, token, totals, job.errors_total))
        return True

    def sweep(self) -> None:
        """Forgets old jobs, and deletes files that no job needs."""
        files = list(self._folder.iterdir())
        with self._database.transaction() as connection:
            rows.give_up(connection, days=_DAYS, message=_GONE)
            rows.forget(connection, days=_DAYS)
            ended = rows.ended(connection, [job_id for path in files if (job_id := _job_id(path)) is not None])
        stray_before = time.time() - _STRAY_S
        for path in files:
            job_id = _job_id(path)
            with suppress(FileNotFoundError):
                if ended[job_id] if job_id in ended else path.stat().st_mtime < stray_before:
                    path.unlink()

    def _run(self, claim: _Claim) -> None:
        _log.info("Import %s runs from record %d on", claim.job.job_id, claim.job.done)
        with self._leased(claim):
            outcome = self._outcome(claim)
            if outcome is None:
                return
            with self._database.transaction() as connection:
                ended = rows.end(connection, claim.job.job_id, claim.token, *outcome)
        if ended:
            _log.info("Import %s %s: %s", claim.job.job_id, outcome[0], outcome[1] or "all its records were read")
            path_of(self._folder, claim.job).unlink(missing_ok=True)

    def _outcome(self, claim: _Claim) -> tuple[rows.Status, str | None] | None:
        """How the job ended; None where it is left to be taken up again, or is not ours any more."""
        if claim.job.attempts > _MAX_ATTEMPTS:
            return "failed", _ENDLESS
        try:
            return ("succeeded", None) if self._imported(claim) else None
        except JobEnded:
            _log.info("Import %s was cancelled, or runs elsewhere", claim.job.job_id)
            return None
        except (DatabaseError, StorageFull):
            raise
        except InvalidInput:  # of the file itself: what is wrong in it is an error of its line
            return "failed", _GONE
        except DeletionRefused as error:
            return "failed", f"{error} All that could be read was imported. With force=true they are deleted."
        except Exception:  # noqa: BLE001 - a file that breaks us must not stop the imports behind it
            if self._stop.is_set():  # what it worked with is being closed
                return None
            _log.exception("Import %s failed", claim.job.job_id)
            return "failed", _BROKEN

    def _imported(self, claim: _Claim) -> bool:
        """Imports what is left of the file; whether all of it, so that nothing is left to do."""
        job = claim.job
        unnamed = Unnamed(self._catalogue.ids(before=job.created_at) if job.mode == "sync" else set())
        records = unnamed.following(read_records(path_of(self._folder, job), sent=True))
        on_batch = partial(self._write_down, claim)
        for batch in self._importer.batches(islice(records, job.done, None), on_batch):
            self._on_batch(batch)
            if self._stop.is_set():
                return False
        if job.mode == "sync":
            if not job.forced:
                unnamed.check()
            for _ in self._importer.delete(unnamed.product_ids, on_batch):
                if self._stop.is_set():
                    return False
        return True

    def _write_down(self, claim: _Claim, connection: Connection, batch: Summary) -> None:
        """Commits the job's progress with the batch, or keeps the batch from being committed."""
        job_id = claim.job.job_id
        kept = [LineError(e.line, e.product_id, e.code, e.message) for e in batch.errors]
        rows.add_errors(connection, job_id, claim.errors, kept[: max(0, MAX_ERRORS - claim.errors)])
        claim.totals.add(replace(batch, errors=[]))
        claim.errors += len(kept)
        if not rows.advance(connection, job_id, claim.token, claim.progress()):
            raise JobEnded("The job was cancelled, or runs elsewhere.")

    @contextmanager
    def _leased(self, claim: _Claim) -> Iterator[None]:
        """Holds the lease, however long a batch takes, and gives it back if the job has not ended."""
        over = threading.Event()

        def hold() -> None:
            while not over.wait(self._lease_s / 3):
                with suppress(DatabaseError, StorageFull), self._database.transaction() as connection:
                    rows.renew(connection, claim.job.job_id, claim.token, lease_s=self._lease_s)

        holder = threading.Thread(target=hold, name="import lease", daemon=True)
        holder.start()
        try:
            yield
        finally:
            over.set()
            holder.join()
            with suppress(DatabaseError, StorageFull), self._database.transaction() as connection:
                rows.release(connection, claim.job.job_id, claim.token)


def _job_id(path: Path) -> UUID | None:
    """Whose file this is; None for one that is not whole."""
    try:
        return UUID(path.stem) if path.suffix != ".part" else None
    except ValueError:
        return None
