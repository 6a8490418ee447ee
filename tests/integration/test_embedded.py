"""The embedded PostgreSQL, through kills and company."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from seesame.db.embedded import EmbeddedPostgres
from seesame.errors import DatabaseUnsuitable

_HOLDER = """
import os, sys
from pathlib import Path
import psutil, psycopg, psycopg.conninfo, encodings.idna
from seesame.db.embedded import EmbeddedPostgres
if len(sys.argv) > 2:
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
server = EmbeddedPostgres.start(Path(sys.argv[1]))
with psycopg.connect(server.dsn) as connection:
    connection.execute("SELECT pg_advisory_xact_lock(1)")  # IF NOT EXISTS alone may still collide
    connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer")
print("up", flush=True)
sys.stdin.read()
server.stop()
"""


class _Holder:
    """Another process that uses a data folder until its standard input ends."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-c", _HOLDER, str(folder), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    def leave(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder; no server of it outlives the test."""
    folder = tmp_path / "it's"
    yield folder
    process = _postmaster(folder)
    if process is not None:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)


def _postmaster(folder: Path) -> psutil.Process | None:
    try:
        return psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None


def _answer(server: EmbeddedPostgres) -> object:
    with psycopg.connect(server.dsn) as connection:
        row = connection.execute("SELECT answer FROM kept").fetchone()
        assert row is not None
        return row[0]


def _eventually_answers(server: EmbeddedPostgres) -> bool:
    for _ in range(300):  # 30 s at most
        try:
            return _answer(server) == 42
        except psycopg.OperationalError:
            threading.Event().wait(0.1)
    return False


def test_it_has_pgvector_and_memory_from_the_size_of_the_machine(postgres: EmbeddedPostgres) -> None:
    """The server can create the extension, and its cache is an eighth of the memory within bounds."""
    with psycopg.connect(postgres.dsn) as connection:
        available = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone()
        row = connection.execute(
            "SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers'"
        ).fetchone()
    assert available
    assert row
    assert 128 << 20 <= row[0] <= psutil.virtual_memory().total // 8 + (1 << 20) or row[0] == 128 << 20


def test_it_listens_on_a_private_socket_alone(postgres: EmbeddedPostgres) -> None:
    """No TCP port is opened, and other users cannot enter the socket's folder."""
    with psycopg.connect(postgres.dsn) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        socket_folder = Path(connection.info.host)
    assert socket_folder.stat().st_mode & 0o077 == 0


def test_processes_share_it_and_the_last_one_stops_it(folder: Path) -> None:
    """A second process joins the running server, and the first may leave before it."""
    first = _Holder(folder)
    first.ready()
    with EmbeddedPostgres.start(folder) as second:
        assert first.leave() == 0
        assert _answer(second) == 42
        assert _postmaster(folder) is not None
    assert _postmaster(folder) is None


def test_processes_that_start_at_once_make_one_cluster(folder: Path) -> None:
    """Four processes on a folder that does not exist yet all come up on the same server."""
    holders = [_Holder(folder) for _ in range(4)]
    for holder in holders:
        holder.ready()
    assert [holder.leave() for holder in holders] == [0, 0, 0, 0]
    assert _postmaster(folder) is None


def test_a_killed_process_does_not_keep_the_server_for_ever(folder: Path) -> None:
    """After a kill -9 the server runs on; the next process joins it, finds its data, and stops it in the end."""
    holder = _Holder(folder)
    holder.ready()
    holder.kill()
    running = _postmaster(folder)
    assert running is not None
    with EmbeddedPostgres.start(folder) as server:
        assert _postmaster(folder) == running
        assert _answer(server) == 42
    assert _postmaster(folder) is None


def test_a_killed_server_recovers(folder: Path) -> None:
    """A kill -9 of the server itself leaves a stale lock; the next start takes it away and the data is there."""
    holder = _Holder(folder)
    holder.ready()
    process = _postmaster(folder)
    assert process is not None
    process.kill()
    process.wait(30)
    holder.kill()
    with EmbeddedPostgres.start(folder) as server:
        assert _answer(server) == 42


def test_a_server_that_dies_is_started_again(folder: Path) -> None:
    """While somebody uses it, a killed server comes back by itself, with its data."""
    with EmbeddedPostgres.start(folder) as server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        killed = _postmaster(folder)
        assert killed is not None
        killed.kill()
        killed.wait(30)
        assert _eventually_answers(server)
    assert _postmaster(folder) is None


def test_what_a_killed_server_left_at_work_does_not_keep_it_down(folder: Path) -> None:
    """A backend that does not end by itself, as in a long build of an index, is ended."""
    with EmbeddedPostgres.start(folder) as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
            backend = psutil.Process(connection.info.backend_pid)
            backend.suspend()
            killed = _postmaster(folder)
            assert killed is not None
            killed.kill()
            backend.wait(30)
        assert _eventually_answers(server)
    assert _postmaster(folder) is None


def test_nothing_that_was_committed_waits_for_the_disk(folder: Path) -> None:
    """The settings that a power cut asks for."""
    with EmbeddedPostgres.start(folder) as server, psycopg.connect(server.dsn) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert connection.execute(f"SHOW {setting}".encode()).fetchone() == ("on",)


def test_a_stale_lock_with_the_number_of_a_living_process_is_no_obstacle(folder: Path) -> None:
    """After a reboot the number in the lock may belong to any other program."""
    locks = [folder / "postgres" / name for name in ("postmaster.pid", ".s.PGSQL.5432.lock")]
    with EmbeddedPostgres.start(folder):
        texts = [lock.read_text().split("\n") for lock in locks]
    for lock, text in zip(locks, texts, strict=True):
        lock.write_text("\n".join([str(os.getpid()), *text[1:]]))
    with EmbeddedPostgres.start(folder) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_half_made_cluster_is_made_anew(folder: Path) -> None:
    """A kill during the very first start leaves nothing that a later start would trip over."""
    (folder / "postgres.new").mkdir(parents=True)
    (folder / "postgres.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres.start(folder) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    """Sockets have short names only; the folder of the data may have a long one."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    with EmbeddedPostgres.start(deep) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_socket_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    """Whoever made it first could sit between us and the server."""
    deep = tmp_path / ("d" * 100)
    with EmbeddedPostgres.start(deep) as server, psycopg.connect(server.dsn) as connection:
        sockets = Path(connection.info.host)
    assert not sockets.exists()
    sockets.mkdir(mode=0o777)
    sockets.chmod(0o777)
    try:
        with pytest.raises(DatabaseUnsuitable, match="not private"):
            EmbeddedPostgres.start(deep)
    finally:
        sockets.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root copies what belongs to another user")
def test_a_copy_that_root_made_can_be_used(folder: Path) -> None:
    """As after a restore from a backup: the files belong to root, and PostgreSQL does not run as root."""
    holder = _Holder(folder)
    holder.ready()
    assert holder.leave() == 0
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    with EmbeddedPostgres.start(copy) as server:
        assert _answer(server) == 42


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_runs_for_a_user_who_is_not_root(folder: Path) -> None:
    """The same code serves an ordinary user, who owns the cluster himself."""
    with EmbeddedPostgres.start(folder.with_name("by root")):
        user = pwd.getpwnam("seesame")
    folder.mkdir()
    os.chown(folder, user.pw_uid, user.pw_gid)
    for parent in folder.resolve().parents:
        parent.chmod(parent.stat().st_mode | 0o001)
    holder = _Holder(folder, str(user.pw_uid))
    holder.ready()
    process = _postmaster(folder)
    assert process is not None
    assert process.uids().real == user.pw_uid
    assert holder.leave() == 0
    assert _postmaster(folder) is None
