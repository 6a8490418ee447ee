"""docs/settings.md: the words of `.env.example`, with types, bounds and defaults from the settings classes."""

import re
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from seesame.settings import ApiSettings, ClipSettings, Settings, WorkerSettings

PROCESSES: dict[str, type[Settings | ClipSettings]] = {
    "up": Settings,
    "api": ApiSettings,
    "worker": WorkerSettings,
    "clip": ClipSettings,
}
_EXAMPLE = Path(__file__).parents[1] / ".env.example"

_UNITS = {"s": "seconds", "mb": "MB", "bytes": "bytes", "pixels": "pixels", "images": "pictures"}
_BOUNDS = ((Ge, "ge", "from"), (Gt, "gt", "above"), (Le, "le", "to"), (Lt, "lt", "below"))
_READ_BY = re.compile(r"\s*\[([a-z, ]+?)(?: \(.*?\))?\]")

_HEAD = """\
# Settings

Each process reads its settings when it starts: from the environment, and from a file `.env` in the folder that it is
started in, over which the environment wins. Some are [taken up again](operation.md#settings-without-a-restart) while it
runs. A value that cannot be is named, with what it should be, and the process ends with exit code 2. An empty variable
is as good as none. `up` stands for `seesame up` and for all commands that are no process of their own.
"""


def settings_page() -> str:
    """The page. Raises KeyError where `.env.example` says that a process reads what its class does not have."""
    _, *blocks = _EXAMPLE.read_text().strip().split("\n\n")
    return _HEAD + "".join(f"\n{_section(block)}" for block in blocks)


def _section(block: str) -> str:
    lines = block.splitlines()
    comment = " ".join(line[2:] for line in lines if line.startswith("# "))
    variables = [line[1:].partition("=")[0] for line in lines if not line.startswith("# ")]
    named = _READ_BY.search(comment)
    text = _linked(_READ_BY.sub("", comment))
    if not variables:
        return f"## Models from a hub\n\n{text}\n"
    head = ", ".join(f"`{variable}`" for variable in variables)
    readers = named[1].split(", ") if named else _having(variables[0])
    rows = "".join(_row(variable, readers) for variable in variables)
    return f"## {head}\n\n{text}\n\n| variable | value | default | read by |\n|---|---|---|---|\n{rows}"


def _row(variable: str, readers: list[str]) -> str:
    fields = {process: _field(process, variable) for process in readers}
    name, field = next(iter(fields.values()))
    defaults: dict[str, list[str]] = {}
    for process, (_, of_process) in fields.items():
        defaults.setdefault(_default(of_process), []).append(process)
    if len(defaults) == 1:
        (default,) = defaults
    else:
        default = ", ".join(f"{default} ({', '.join(processes)})" for default, processes in defaults.items())
    return f"| `{variable}` | {_value(name, field)} | {default} | {', '.join(f'`{reader}`' for reader in readers)} |\n"


def _having(variable: str) -> list[str]:
    return [process for process, of_class in PROCESSES.items() if variable in of_class.variables().values()]


def _field(process: str, variable: str) -> tuple[str, FieldInfo]:
    of_class = PROCESSES[process]
    name = {of_variable: name for name, of_variable in of_class.variables().items()}[variable]
    return name, of_class.model_fields[name]


def _default(field: FieldInfo) -> str:
    match field.default:
        case bool():
            return f"`{str(field.default).lower()}`"
        case None | "":
            return "none"
        case _ if field.default_factory is not None:
            return "the platform's folder"
        case _:
            return f"`{field.default}`"


def _value(name: str, field: FieldInfo) -> str:
    kind: Any = field.annotation
    if get_origin(kind) in (Union, UnionType):
        (kind,) = set(get_args(kind)) - {type(None)}  # X | None
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    bounds = [
        f"{word} {getattr(bound, attribute):,}"
        for of_kind, attribute, word in _BOUNDS
        for bound in field.metadata
        if isinstance(bound, of_kind)
    ]
    unit = _UNITS.get(name.rpartition("_")[2], "whole number" if kind is int else "number")
    number = " ".join([unit, *bounds])
    return {
        bool: "`true` or `false`",
        int: number,
        float: number,
        Path: "folder",
        str: "text",
        SecretStr: "text; never shown",
    }.get(kind) or ", ".join(f"`{value}`" for value in get_args(kind))


def _linked(text: str) -> str:
    text = re.sub(r"docs/([\w-]+\.md)", r"[\1](\1)", text)
    return re.sub(r"(?<!`)\b(?:SEESAME|DATABASE|REDIS|PYTHON|HF|LOG)_[A-Z_]+\b(?!`)(=\w+)?", r"`\g<0>`", text)
