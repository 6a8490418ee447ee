"""Writes docs/openapi.json and docs/cli.md from the code. A test compares them with what this would write."""

import html
import json
import os
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def openapi() -> str:
    """The API's description; needs no database."""
    from seesame.api.app import describe

    return json.dumps(describe(), indent=1, ensure_ascii=False) + "\n"


def commands() -> str:
    """The command line's help, as Markdown."""
    command = [sys.executable, "-m", "typer", "seesame.cli", "utils", "docs", "--name", "seesame"]
    environment = os.environ | {"COLUMNS": "120", "TERM": "dumb"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return html.unescape(done.stdout.strip()) + "\n"


if __name__ == "__main__":
    for name, text in {"openapi.json": openapi(), "cli.md": commands()}.items():
        (DOCS / name).write_text(text)
        print(DOCS / name)
