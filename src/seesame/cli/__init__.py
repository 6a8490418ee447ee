"""The command line."""

import signal
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from seesame import __version__
from seesame.errors import SeesameError, SettingsError

_COMMANDS = {  # where each is, and its line in the program's help
    "up": ("serve.up", "Start everything on this machine: PostgreSQL, the API, the web page and the indexer."),
    "api": (
        "serve.api",
        "Start the API and the web page alone: the database, the CLIP service and the worker run elsewhere.",
    ),
    "worker": (
        "serve.worker",
        "Start a worker: it computes the vectors that images lack, now and as they arrive. Several may run at once.",
    ),
    "clip": (
        "serve.clip",
        "Start the CLIP service, which turns pictures and words into vectors. Downloads its model on the first start.",
    ),
    "import": (
        "catalogue.import_",
        "Bring products and their pictures into the catalogue. Running it again changes only what changed.",
    ),
    "index": ("catalogue.index", "Compute the vectors that images lack, in every space whose model is here."),
    "search": ("catalogue.search", "Find products that look like a picture, a description or another product."),
    "duplicates": (
        "duplicates.duplicates",
        "Find pictures that are in several products: the same, nearly the same, or alike.",
    ),
    "demo": ("demo.demo", "Draw a sample catalogue, import it, search it by a photo, and leave the page up."),
    "tune": ("tune.tune", "Choose how far the index is searched, by measuring what it finds against comparing all."),
    "calibrate": (
        "calibrate.calibrate",
        "Measure what similarities mean in a space: from then on results have a score, and answers say if"
        " they are good.",
    ),
    "eval": (
        "evaluate.evaluate",
        "Measure how well photos find their product, by pictures of the catalogue, damaged as a phone's camera would.",
    ),
    "doctor": (
        "doctor.doctor",
        "Check the installation, the database and the spaces. Exit code 1 if something needs a hand.",
    ),
    "db": ("database.app", "The database's schema, and vectors that the shop has in tables of its own."),
    "jobs": ("jobs.app", "Imports of files that were sent to the API: see how they are, or end them."),
    "keys": ("keys.app", "Keys of the API: make, show and revoke them."),
    "models": ("models.app", "CLIP models: which there are, which are here."),
    "spaces": ("spaces.app", "The spaces, one for each model: change the model while the shop goes on answering."),
}


class _Program(TyperGroup):
    """Imports a command when it is called: all of them together take a second."""

    def __init__(self, **attributes: Any) -> None:
        lines = {name: TyperCommand(name, help=line) for name, (_, line) in _COMMANDS.items()}
        super().__init__(**attributes | {"commands": lines})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command's line where the program lists its own; to others, as for the reference, the command."""
        line = super().get_command(ctx, cmd_name)
        return line if line is None or ctx.command is self else _imported(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, in the place of its line."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else _imported(name), rest


def _imported(name: str) -> Any:
    """The command, or the group of commands, as Typer would have made it of `app.command` or `app.add_typer`."""
    module, _, attribute = _COMMANDS[name][0].partition(".")
    found = getattr(import_module(f"seesame.cli.{module}"), attribute)
    holder = typer.Typer()
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name)(found)
    return typer.main.get_group(holder).commands[name]


app = typer.Typer(
    cls=_Program,
    name="seesame",
    help="Visual search for the product catalogue that a shop keeps in PostgreSQL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
