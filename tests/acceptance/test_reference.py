"""The reference in docs/ says what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["openapi.json", "clip-openapi.json", "cli.md", "metrics.md"])
def test_the_committed_reference_is_what_the_code_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change, `python tools/make_reference.py` writes it anew."""
    monkeypatch.syspath_prepend(str(_ROOT / "tools"))
    import make_reference

    assert make_reference.REFERENCE[name]() == (_ROOT / "docs" / name).read_text()


def test_the_readme_names_only_commands_and_files_that_exist() -> None:
    """Every `seesame …` in a code block has its help, every link its file."""
    text = (_ROOT / "README.md").read_text()
    commands = set(re.findall(r"^\$ seesame (\w+)", text, re.MULTILINE))
    assert commands >= {"import", "search", "up"}
    for command in commands:
        subprocess.run([sys.executable, "-m", "seesame", command, "--help"], check=True, capture_output=True)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (_ROOT / target).exists(), target
