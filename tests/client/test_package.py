"""The client is a package of its own."""

import subprocess
import sys
from pathlib import Path

_PACKAGE = Path(__file__).parents[2] / "clients" / "python"

_USE = """
import sys
from seesame_client import Client, Retry, Unreachable, __file__
with Client("http://127.0.0.1:1", retry=Retry(tries=1)) as client:
    try:
        client.health()
    except Unreachable:
        print(__file__, sorted(sys.modules.keys() & {"seesame", "fastapi", "psycopg", "pydantic", "numpy"}))
"""


def test_the_wheel_works_by_itself(tmp_path: Path) -> None:
    """Built and installed as its README says, with its types and its licence; nothing of the server is loaded."""
    from_here = ("--no-index", "--no-deps", "--no-build-isolation")
    _python("-m", "pip", "install", "--quiet", *from_here, "--target", str(tmp_path), str(_PACKAGE))
    assert (tmp_path / "seesame_client" / "py.typed").exists()
    (licence,) = tmp_path.glob("seesame_client-*.dist-info/licenses/LICENSE")
    assert "Apache License" in licence.read_text()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{_USE}"
    assert _python("-P", "-c", code) == f"{tmp_path}/seesame_client/__init__.py []\n"


def _python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
