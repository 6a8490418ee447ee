"""The command line."""

import signal
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from seesame import __version__
from seesame.cli import (
    calibrate,
    catalogue,
    database,
    demo,
    doctor,
    duplicates,
    evaluate,
    jobs,
    keys,
    models,
    serve,
    spaces,
    tune,
)
from seesame.errors import SeesameError, SettingsError

app = typer.Typer(
    name="seesame",
    help="Visual search for the product catalogue that a shop keeps in PostgreSQL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(serve.up)
app.command("api")(serve.api)
app.command("worker")(serve.worker)
app.command("clip")(serve.clip)
app.command("import")(catalogue.import_)
app.command("index")(catalogue.index)
app.command("search")(catalogue.search)
app.command("duplicates")(duplicates.duplicates)
app.command("demo")(demo.demo)
app.command("tune")(tune.tune)
app.command("calibrate")(calibrate.calibrate)
app.command("eval")(evaluate.evaluate)
app.command("doctor")(doctor.doctor)
app.add_typer(database.app, name="db")
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(spaces.app, name="spaces")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"seesame {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Settings come from the environment or a `.env` file; `.env.example` lists them."""


def main() -> None:
    """The program. Errors of ours are one line and exit code 1, wrong settings exit code 2; no traceback."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except SeesameError as error:
        Console(stderr=True).print(Text.assemble(("Error: ", "red"), str(error)), soft_wrap=True)
        sys.exit(2 if isinstance(error, SettingsError) else 1)


def _terminated(signum: int, _: object) -> None:
    """Ends the program in order, so that the embedded PostgreSQL is stopped."""
    raise SystemExit(128 + signum)
