"""The command line, as a user's shell runs it: real processes on an embedded PostgreSQL."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import typer
from typer.testing import CliRunner

from seesame import __version__
from seesame.cli import app
from seesame.db.embedded import EmbeddedPostgres
from tests.conftest import picture


class Shell:
    """Runs `seesame` with a data folder of its own."""

    def __init__(self, folder: Path, cache_dir: Path) -> None:
        self.folder = folder
        drop = ("DATABASE_URL", "SEESAME_", "LOG_", "HF_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(drop)} | {
            "SEESAME_DATA_DIR": str(folder / "data"),
            "SEESAME_CACHE_DIR": str(cache_dir),
            "SEESAME_PORT": "0",
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "200",
            "PYTHONWARNINGS": "error",
        }
        self.running: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "seesame", *arguments],
            env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def start(self, *arguments: str) -> "Up":
        process = subprocess.Popen(
            [sys.executable, "-m", "seesame", *arguments],
            env=self.environment, cwd=self.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.running.append(process)
        return Up(process)


class Up:
    """A running `seesame up`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self.url = self.wait_for(r"Seesame is up: (http://\S+)")

    def wait_for(self, pattern: str) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(pattern, line):
                return found.group(found.lastindex or 0)
        raise AssertionError("".join(self.log))

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def seesame(tmp_path: Path, cache_dir: Path) -> Iterator[Shell]:
    """A shell on an empty shop; no server of it outlives the test."""
    shell = Shell(tmp_path, cache_dir)
    yield shell
    for process in shell.running:
        process.kill()
        process.communicate()
    if shell.running:
        EmbeddedPostgres.start(tmp_path / "data").stop()  # of a process that was killed


@pytest.fixture
def database(seesame: Shell) -> Iterator[None]:
    """A server of the shop that is up all the time, so that no command has to start and to stop it."""
    with EmbeddedPostgres.start(seesame.folder / "data"):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of four products in two categories, and one file that only looks like a picture."""
    for name, colour in {"shoes/a": "red", "shoes/b": "blue", "hats/c": "green", "hats/d": "black"}.items():
        path = tmp_path / "shop" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(colour))
    return tmp_path / "shop"


def _postmaster(shell: Shell) -> Path:
    return shell.folder / "data" / "postgres" / "postmaster.pid"


@pytest.mark.parametrize("command", ["", "up", "import", "index", "search", "duplicates", "demo", "doctor",
                                     "db migrate", "db adopt", "db convert-column",
                                     "db status", "db distribute", "tune", "calibrate", "eval",
                                     "models list", "models pull",
                                     "models show", "spaces list", "spaces add", "spaces compare", "spaces activate",
                                     "spaces rollback", "spaces retire", "jobs list", "jobs show",
                                     "jobs cancel"])  # fmt: skip
def test_every_command_helps(command: str) -> None:
    """`--help` explains each command and its options."""
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert (result.exit_code, "Usage" in result.output) == (0, True)


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    """The lines stand beside the commands, so that `--help` imports none of them."""
    program = typer.main.get_group(app)
    listing = typer.Context(program)
    for name in program.list_commands(listing):
        line, (_, command, _) = program.get_command(listing, name), program.resolve_command(listing, [name])
        assert line is not None
        assert command is not None
        assert command.help is not None
        assert (line.name, line.help) == (command.name, command.help.split("\n\n")[0].replace("\n", " "))


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], {"seesame.application", "seesame.settings", "numpy", "psycopg", "pydantic"}),
        (
            ["search", "--help"],
            {"seesame.api", "seesame.demo", "seesame.clip_service", "fastapi", "uvicorn", "redis", "onnx"},
        ),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], absent: set[str]) -> None:
    """Nobody waits for the parts of other commands."""
    code = "import atexit, sys; from seesame.cli import main; atexit.register(lambda: print(*sys.modules)); main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    imported = set(done.stdout.splitlines()[-1].split())
    assert "seesame.cli" in imported
    assert not imported & absent


def test_the_version_is_printed(seesame: Shell) -> None:
    """The one that is installed."""
    assert seesame("--version").stdout == f"seesame {__version__}\n"


def test_the_life_of_a_catalogue(seesame: Shell, folder: Path) -> None:
    """Import, import again, search in three ways, index, look it over."""
    first = seesame("import", str(folder))
    assert "4 new, 0 changed, 0 as before. Pictures: 4 new" in first.stderr
    again = seesame("import", "shop")
    assert "0 new, 0 changed, 4 as before. Pictures: 0 new, 4 as before" in again.stderr
    assert "Every image has its vector" in seesame("index").stderr

    table = seesame("search", str(folder / "shoes" / "b.jpg")).stdout
    assert table.index("shoes/b") < table.index("hats/c")
    hats = json.loads(seesame("search", "shop/shoes/a.jpg", "--category", "hats", "--limit", "1", "--json").stdout)
    assert len(hats["results"]) == 1
    assert hats["results"][0]["product"]["category"] == "hats"
    assert (hats["degraded"], hats["degraded_reason"]) == (True, "clip_unavailable")
    words = json.loads(seesame("search", "--text", "hats", "--json").stdout)
    assert {result["product_id"] for result in words["results"]} == {"hats/c", "hats/d"}
    assert (words["search"]["method"], words["degraded_reason"]) == ("fulltext", "no_text_model")
    similar = json.loads(seesame("search", "--similar-to", "hats/c", "--json").stdout)
    assert "hats/c" not in {result["product_id"] for result in similar["results"]}

    report = seesame("doctor").stdout
    for line in ("embedded", "4 products, 4 images", "4 vectors", "exact, without index", "All is well"):
        assert line in report
    assert not _postmaster(seesame).exists()


@pytest.mark.usefixtures("database")
def test_an_import_with_bad_lines_names_each_and_does_the_others(seesame: Shell, folder: Path) -> None:
    """Exit code 1, the line, the reason; what is good can be searched."""
    table = folder / "products.csv"
    table.write_text(
        "product_id,title,price,image\ngood,Fine,1.50,shoes/a.jpg\nbad,T,abc,\n,,,\n,x,,\ngone,T,1,no.jpg\n"
    )
    done = seesame("import", str(table), code=1)
    assert re.search(r"products\.csv, line 3, bad: price: 'abc' is not a number", done.stderr)
    assert re.search(r"products\.csv, line 5, \?: product_id", done.stderr)
    assert re.search(r"products\.csv, line 6, gone: no\.jpg: There is no such file", done.stderr)
    assert "Errors: 3." in done.stderr
    assert "good" in seesame("search", str(folder / "shoes" / "a.jpg")).stdout


@pytest.mark.usefixtures("database")
def test_a_catalogue_that_is_not_indexed_is_told(seesame: Shell, folder: Path) -> None:
    """A search that cannot find what is there says what to do about it."""
    seesame("import", str(folder), "--no-index")
    assert "4 images are not indexed yet" in seesame("search", "shop/shoes/a.jpg").stderr
    assert "4 images lack their vector" in seesame("doctor", code=1).stdout
    seesame("index")
    assert "not indexed" not in seesame("search", "shop/shoes/a.jpg").stderr


@pytest.mark.usefixtures("database")
def test_wrong_use_is_told_in_one_line(seesame: Shell, folder: Path) -> None:
    """No traceback; exit code 2 for settings, 1 for the rest."""
    assert "no file or folder" in seesame("import", "nowhere", code=1).stderr
    assert "Name one of" in seesame("search", code=1).stderr
    assert "Cannot read 'none.jpg'" in seesame("search", "none.jpg", code=1).stderr
    assert "Cannot read '[/x].jpg'" in seesame("search", "[/x].jpg", code=1).stderr
    assert "Cannot read '/dev/zero'" in seesame("search", "/dev/zero", code=1).stderr
    assert "finite" in seesame("search", "--text", "x", "--max-price", "nan", code=1).stderr
    assert "limit" in seesame("search", "shop/shoes/a.jpg", "--limit", "0", code=1).stderr
    (folder / "text.jpg").write_text("text")
    assert "not a JPEG" in seesame("search", "shop/text.jpg", code=1).stderr
    assert "no such product" in seesame("search", "--similar-to", "x", code=1).stderr
    assert "seesame models pull" in seesame("models", "show", code=1).stderr
    assert "vit-b-32-laion2b" in seesame("models", "list").stdout
    assert "65535" in seesame("up", "--port", "70000", code=2).stderr
    seesame.environment["SEESAME_DATA_DIR"] = str(folder / "text.jpg")
    assert "SEESAME_DATA_DIR" in seesame("doctor", code=2).stderr
    seesame.environment["SEESAME_DATA_DIR"] = str(seesame.folder / "data")
    seesame.environment["SEESAME_PORT"] = "http"
    assert "SEESAME_PORT" in seesame("doctor", code=2).stderr
    seesame.environment |= {"SEESAME_PORT": "0", "DATABASE_URL": "postgresql://127.0.0.1:1/none"}
    assert "cannot be reached" in seesame("doctor", code=1).stderr


def test_up_serves_shares_its_database_and_ends_in_order(seesame: Shell, folder: Path) -> None:
    """Another process imports beside it; its own indexer fills what arrives by HTTP; SIGTERM ends all of it."""
    up = seesame.start("up")
    seesame("import", str(folder))
    with httpx2.Client(base_url=up.url, timeout=30) as client:
        found = client.post("/v1/search/image", files={"image": picture("green")}).json()
        assert found["results"][0]["product_id"] == "hats/c"
        assert client.put("/v1/products/new", json={"title": "New"}).status_code == 201
        client.post("/v1/products/new/images", files={"image": picture("orange")})
        for _ in range(100):
            found = client.post("/v1/search/image", files={"image": picture("orange")}).json()
            if found["results"][0]["product_id"] == "new":
                break
            time.sleep(0.1)
        else:
            raise AssertionError("".join(up.log))
    port = up.url.rsplit(":", 1)[1]
    assert "Set SEESAME_PORT" in seesame("up", "--port", port, code=2).stderr
    assert up.end(signal.SIGTERM) == 0
    assert not _postmaster(seesame).exists()


def test_up_survives_the_death_of_its_database(seesame: Shell, folder: Path) -> None:
    """A kill -9 of PostgreSQL: 503 meanwhile, then answers again with all that was acknowledged, by itself."""
    up = seesame.start("up")
    seesame("import", str(folder))
    os.kill(int(_postmaster(seesame).read_text().split()[0]), signal.SIGKILL)
    with httpx2.Client(base_url=up.url, timeout=30) as client:
        for _ in range(100):
            reply = client.post("/v1/search/image", files={"image": picture("green")})
            assert reply.status_code in (200, 503)
            if reply.status_code == 200:
                break
            assert reply.headers["retry-after"]
            threading.Event().wait(0.1)
        assert reply.json()["results"][0]["product_id"] == "hats/c"
    assert up.end(signal.SIGTERM) == 0


def test_up_recovers_from_a_kill(seesame: Shell, folder: Path) -> None:
    """After a kill -9 the next start has the whole catalogue, and Ctrl-C ends it."""
    up = seesame.start("up")
    seesame("import", str(folder))
    up.end(signal.SIGKILL)
    again = seesame.start("up")
    with httpx2.Client(base_url=again.url, timeout=30) as client:
        found = client.post("/v1/search/image", files={"image": picture("green")}).json()
        assert found["results"][0]["product_id"] == "hats/c"
    assert again.end(signal.SIGINT) == 0
    assert not _postmaster(seesame).exists()


def test_programs_of_postgresql_find_the_database(seesame: Shell) -> None:
    """With their own options and exit codes; one that is not there is an error of one line."""
    printed = seesame("db", "run", "psql", "--no-align", "--tuples-only", "--command", "SELECT current_database()")
    assert printed.stdout.strip() == "seesame"
    seesame("db", "run", "psql", "--set=ON_ERROR_STOP=1", "--command", "SELECT nothing", code=1)
    assert "There is no program pg_nothing" in seesame("db", "run", "pg_nothing", code=1).stderr


def test_logs_are_json_on_request(seesame: Shell) -> None:
    """One object a line with the event in it."""
    seesame.environment["LOG_FORMAT"] = "json"
    lines = [json.loads(line) for line in seesame("db", "migrate").stderr.splitlines()]
    assert any(line["event"].startswith("Applied migration") and line["level"] == "info" for line in lines)


@pytest.mark.usefixtures("database")
def test_a_sync_is_rehearsed_guarded_and_done(seesame: Shell, folder: Path) -> None:
    """A dry run tells and does nothing; deleting much needs a word more; jobs are listed, shown and cancelled."""
    seesame("import", "shop", "--no-index")
    (folder / "hats" / "c.jpg").unlink()
    told = seesame("import", "shop", "--sync", "--dry-run")
    assert "0 new, 0 changed, 3 as before, 1 deleted." in told.stderr
    assert "nothing was written" in told.stderr
    (folder / "hats" / "d.jpg").unlink()
    refused = seesame("import", "shop", "--sync", "--no-index", code=1)
    assert "2 of 4 products are not named, more than 30%. Nothing was deleted. With --delete-any" in refused.stderr
    assert "as before, 2 deleted." in seesame("import", "shop", "--sync", "--delete-any", "--no-index").stderr
    assert "2 products, 2 images" in seesame("doctor", code=1).stdout
    up = seesame.start("up")
    rows = ("product_id,image", "sent,c.jpg", "fine,")
    sent = httpx2.post(f"{up.url}/v1/imports", content="\n".join(rows), headers={"Content-Type": "text/csv"})
    job_id = sent.json()["id"]
    up.wait_for(f"Import {job_id} succeeded")
    assert re.search(rf"{job_id} +merge +succeeded +2 of 2 +1 ", seesame("jobs", "list").stdout)
    shown = seesame("jobs", "show", job_id, code=1).stdout
    assert "line 2, sent: image: In a file that is sent, pictures are named by URLs. (path_not_allowed)" in shown
    assert "succeeded" in seesame("jobs", "cancel", job_id).stdout
    assert "There is no such job" in seesame("jobs", "show", "6f1b7f0e-6a0e-5c39-9d0b-5ee5a3e00001", code=1).stderr
