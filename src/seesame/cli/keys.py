"""`seesame keys`: who may ask the API."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seesame.application import open_database
from seesame.db.keys import ApiKey
from seesame.db.migrate import migrate
from seesame.keys import LOOK_S, Keys
from seesame.logs import configure_logging
from seesame.settings import Settings
from seesame.types import Scope

app = typer.Typer(help="Keys of the API: make, show and revoke them.", no_args_is_help=True)
_out = Console()
_err = Console(stderr=True)
_HOURS = {"h": 1, "d": 24, "w": 7 * 24}


def _lifetime(text: str) -> timedelta:
    written = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if written is None:
        raise typer.BadParameter("A number of hours, days or weeks: 12h, 90d, 52w.")
    return timedelta(hours=int(written[1]) * _HOURS[written[2]])


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for, to know it again: shop server.", show_default=False)],
    scope: Annotated[
        Scope, typer.Option(help="search: to search and to read products. admin: everything.", show_default=False)
    ],
    expires: Annotated[
        timedelta | None,
        typer.Option(parser=_lifetime, metavar="12h|90d|52w", help="After what time it ends.", show_default="never"),
    ] = None,
) -> None:
    """Make a key and print it, alone, to the standard output. It cannot be shown again: only its digest is kept."""
    with _opened() as keys:
        key, text = keys.create(name, scope, lifetime=expires)
    print(text)  # noqa: T201 - not by rich, which would wrap it
    _err.print(f"Key {key.key_id} for {key.scope}. Keep it now: it cannot be shown again.", highlight=False)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show all keys, the oldest first, without their secrets."""
    with _opened() as keys:
        listed = keys.all()
    if as_json:
        print(json.dumps([_described(key) for key in listed], indent=2))  # noqa: T201
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("key", "name", "scope", "state", "made", "last used", "expires"):
        table.add_column(column)
    for key in listed:
        moments = (_shown(moment) for moment in (key.created_at, key.last_used_at, key.expires_at))
        table.add_row(key.key_id, Text(key.name), key.scope, _state(key), *moments)
    _out.print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="A key by its id, as `seesame keys list` shows it.")]) -> None:
    """End a key for good. Servers that run take it for two seconds more at most."""
    with _opened() as keys:
        key = keys.revoke(key_id)
    _out.print(
        Text(f"{key.key_id} ({key.name}) is revoked. Servers that run take it for {LOOK_S:.0f} seconds more at most.")
    )


@contextmanager
def _opened() -> Iterator[Keys]:
    settings = Settings.read()
    configure_logging(settings.log_level, settings.log_format)
    with open_database(settings) as database:
        migrate(database)
        yield Keys(database)


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "over" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "works"


def _described(key: ApiKey) -> dict[str, str | None]:
    moments = {
        name: None if (moment := getattr(key, name)) is None else moment.isoformat()
        for name in ("created_at", "last_used_at", "expires_at", "revoked_at")
    }
    return {"key_id": key.key_id, "name": key.name, "scope": key.scope, "state": _state(key), **moments}


def _shown(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M}"
