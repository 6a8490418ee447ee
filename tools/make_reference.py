"""Writes the reference in docs/ from the code. A test compares it with what this would write."""

import html
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"


def openapi() -> str:
    """The API's description; needs no database."""
    from seesame.api.app import describe

    return _json(describe())


def clip_openapi() -> str:
    """The CLIP service's description; needs no model."""
    from seesame.clip_service.app import describe

    return _json(describe())


def _json(description: dict[str, Any]) -> str:
    return json.dumps(description, indent=1, ensure_ascii=False) + "\n"


def commands() -> str:
    """The command line's help, as Markdown."""
    command = [sys.executable, "-m", "typer", "seesame.cli", "utils", "docs", "--name", "seesame"]
    environment = os.environ | {"COLUMNS": "120", "TERM": "dumb"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return html.unescape(done.stdout.strip()) + "\n"


REFERENCE = {"openapi.json": openapi, "clip-openapi.json": clip_openapi, "cli.md": commands}


if __name__ == "__main__":
    for name, make in REFERENCE.items():
        (DOCS / name).write_text(make())
        print(DOCS / name)
