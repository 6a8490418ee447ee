"""What is released: built here, complete, and usable where nothing else of this folder is."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import licences
import seesame
import seesame_client

_ROOT = Path(__file__).parents[2]
_SOURCES = {"seesame": _ROOT, "seesame_client": _ROOT / "clients" / "python"}

_IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
print(package.__file__)
"""


@dataclass(frozen=True)
class Built:
    """A package's name, and its two files."""

    name: str
    wheel: Path
    sdist: Path

    @property
    def files(self) -> set[str]:
        """What the wheel puts beside each other into a folder of packages."""
        with zipfile.ZipFile(self.wheel) as wheel:
            return set(wheel.namelist())


def test_pins_are_at_or_above_the_floors() -> None:
    """Also those below which a hole is known, so that no lock brings it back; new holes are for `make audit`."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    locked = (_ROOT / "requirements" / "run.txt").read_text()
    pins = dict(re.findall(r"^([\w.-]+)==([^ ;]+)", locked.replace("[binary]", ""), re.MULTILINE))
    wanted = [Requirement(line) for line in project["dependencies"]]
    assert [str(need) for need in wanted if not need.specifier.contains(pins[need.name])] == []
    assert Version(pins["pillow"]) >= Version("13.0.0")


@pytest.fixture(scope="module", params=_SOURCES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """One of the packages, as `make release` builds it."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=_SOURCES[request.param])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(request.param, wheel, sdist)


def test_server_and_client_have_one_version() -> None:
    """They are released together."""
    assert seesame.__version__ == seesame_client.__version__


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    """Every file below the package's folder: SQL, templates, scripts, styles and types as well."""
    folder = _SOURCES[built.name] / "src"
    tracked = _run("git", "ls-files", "-z", str(folder / built.name), cwd=folder).split("\0")
    assert {name for name in built.files if ".dist-info/" not in name} == set(filter(None, tracked))


def test_the_sdist_makes_the_same_wheel(built: Built, tmp_path: Path) -> None:
    """To the byte."""
    with tarfile.open(built.sdist) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=source)
    assert (tmp_path / built.wheel.name).read_bytes() == built.wheel.read_bytes()


def test_the_installed_wheel_works_with_what_is_pinned_and_nothing_else(built: Built, tmp_path: Path) -> None:
    """In an environment that has the packages of requirements/run.txt: every module, and the command."""
    _run(sys.executable, "-m", "uv", "venv", "--offline", "--python", sys.executable, str(tmp_path / "venv"))
    python = tmp_path / "venv" / "bin" / "python"
    _run(
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--offline",
        "--no-deps",
        "--python",
        str(python),
        str(built.wheel),
    )
    (packages,) = (tmp_path / "venv").glob("lib/*/site-packages")
    for name in licences.packages():
        for part in {file.parts[0] for file in distribution(name).files or []} - {"..", "__pycache__"}:
            (packages / part).symlink_to(str(distribution(name).locate_file(part)))
    assert _run(str(python), "-I", "-c", _IMPORT_ALL, built.name).strip() == f"{packages}/{built.name}/__init__.py"
    if built.name == "seesame":
        assert _run(str(python.parent / "seesame"), "--version") == f"seesame {seesame.__version__}\n"


def test_the_bill_of_materials_is_valid_and_has_every_digest(tmp_path: Path) -> None:
    """The tool holds what it writes against the schema; of each pinned package the digests are there."""
    out = tmp_path / "bom.json"
    pinned = _ROOT / "requirements" / "run.txt"
    _run(str(Path(sys.executable).with_name("cyclonedx-py")), "requirements", str(pinned), "-o", str(out))
    parts = json.loads(out.read_text())["components"]
    assert {part["name"] for part in parts} >= licences.packages().keys()
    assert all(part["externalReferences"][0]["hashes"] for part in parts)


def _run(*command: str, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
