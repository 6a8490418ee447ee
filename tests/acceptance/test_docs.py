"""What the pages say: their commands are run, and what they name exists."""

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from markdown_it import MarkdownIt
from typer.main import get_command
from typer.testing import CliRunner

import make_reference
from seesame.cli import app
from seesame.db.embedded import EmbeddedPostgres
from seesame.settings import ClipSettings, WorkerSettings
from tests.conftest import Shop, sample_shop

_ROOT = Path(__file__).parents[2]
_WRITTEN_BY_HAND = [
    *(
        page
        for page in sorted(_ROOT.glob("docs/**/*.md"))
        if str(page.relative_to(_ROOT / "docs")) not in make_reference.REFERENCE
    ),
    _ROOT / "README.md",
    _ROOT / "CONTRIBUTING.md",
    _ROOT / "SECURITY.md",
    _ROOT / "DOCKER_DEPLOYMENT_GUIDE.md",
    _ROOT / "clients" / "python" / "README.md",
]
PAGES = {str(page.relative_to(_ROOT)): page.read_text() for page in _WRITTEN_BY_HAND}


@dataclass(frozen=True)
class Block:
    """A block of commands, and what the comment before it says about running them."""

    page: str
    mark: str
    commands: list[tuple[str, str]]
    """Each with what the page shows of its output, which may be nothing."""


def _blocks(pages: Mapping[str, str]) -> Iterator[Block]:
    for page, text in pages.items():
        before = ""
        for token in MarkdownIt("commonmark").parse(text):
            if token.type == "fence" and token.info in ("console", "sh", "bash", "shell", ""):
                commands = [_parted(part) for part in re.split(r"^\$ ", token.content, flags=re.MULTILINE)[1:]]
                if commands or token.info:
                    yield Block(page, before.removeprefix("<!-- ").removesuffix(" -->"), commands)
            before = token.content.strip() if token.type == "html_block" else ""


def _parted(text: str) -> tuple[str, str]:
    """A command, which goes on while a line ends with a backslash or within quotes, and what stands below it."""
    command, *rest = text.splitlines()
    while rest and (command.endswith("\\") or _open(command)):
        command += "\n" + rest.pop(0)
    return command, "\n".join(rest)


def _open(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return False


BLOCKS = list(_blocks(PAGES))
assert all(block.commands for block in BLOCKS), "A command begins with a dollar sign and a blank."
RUN_HERE = {page: [block for block in BLOCKS if block.page == page and not block.mark] for page in PAGES}


@pytest.fixture(scope="module")
def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Shop]:
    """A small sample catalogue in a running server, in a folder with `products.csv` and `photo.jpg`."""
    with sample_shop(postgres, tmp_path_factory.mktemp("pages"), cache_dir, every=40) as shop:
        yield shop


@pytest.mark.parametrize("page", [page for page, blocks in RUN_HERE.items() if blocks])
def test_the_commands_of_a_page_do_what_it_shows(page: str, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which they stand; … stands for anything in what they print."""
    dsn = shop.settings.database_url
    assert dsn is not None
    monkeypatch.setenv("DATABASE_URL", dsn.get_secret_value())
    monkeypatch.setenv("SEESAME_DATA_DIR", str(shop.settings.data_dir))
    monkeypatch.setenv("SEESAME_CACHE_DIR", str(shop.settings.cache_dir))
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)  # this process has its own
    monkeypatch.chdir(shop.photo.parent)
    for command, shown in [command for block in RUN_HERE[page] for command in block.commands]:
        printed = _printed(command, shop.url)
        pattern = r"\s*".join(re.escape(word) for word in shown.split()).replace("…", ".*")
        assert not shown or re.match(pattern, printed, re.DOTALL), f"{command}\n{printed}"


def _printed(command: str, url: str) -> str:
    """What a command prints. `seesame` runs in this process, which saves it a second's imports; all else in a shell."""
    program, *words = shlex.split(command, comments=True)
    if program == "seesame":
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{command}\n{result.output}{result.exception!r}"
        return result.stdout
    checked = command.replace("curl ", "curl -sS --fail-with-body ").replace("http://127.0.0.1:8000", url)
    shell = ["bash", "-euo", "pipefail", "-c", checked]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark], ids=lambda block: block.page)
def test_commands_that_are_not_run_here_have_a_reason(block: Block) -> None:
    """Or a test that runs the page."""
    assert _is_reason(block), f"{block.page}: {block.mark}"


def _is_reason(block: Block) -> bool:
    if found := re.fullmatch(r"run by (tests/\S+\.py)", block.mark):
        return Path(block.page).name in (_ROOT / found[1]).read_text()
    return re.fullmatch(r"not run: \S.{5,}", block.mark) is not None


def _named_commands(page: str) -> Iterator[list[str]]:
    """What stands after each `seesame` of a page, in its blocks and between its words."""
    for command in [command for block in BLOCKS if block.page == page for command, _ in block.commands]:
        lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for start in [place for place, word in enumerate(words) if word == "seesame"]:
            ends = (place for place in range(start, len(words)) if set(words[place]) <= set("|&;"))
            yield words[start + 1 : next(ends, len(words))]
    yield from (command.split() for command in re.findall(r"`seesame\s+([a-z][^`]*)`", PAGES[page]))


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_named_exist_with_their_options(page: str) -> None:
    """Wherever in the page they stand, run or not."""
    assert [words for words in _named_commands(page) if not _exists(words)] == []


def _exists(words: list[str]) -> bool:
    command: Any = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        _, command, words = command.resolve_command(typer.Context(command), words)
    if command.context_settings.get("ignore_unknown_options"):
        return True
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    return options <= known | {"--help"} and (not hasattr(command, "commands") or len(options) == len(words))


@pytest.mark.parametrize("page", PAGES)
def test_settings_files_and_tests_that_are_named_exist(page: str) -> None:
    """Variables in the settings classes, or in the tests that read them; files in the repository."""
    settings = {*WorkerSettings.variables().values(), *ClipSettings.variables().values()}
    settings.update(
        re.findall(r"^\| `(SEESAME_\w+)` \|", PAGES["DOCKER_DEPLOYMENT_GUIDE.md"], re.MULTILINE)
    )  # Compose's
    for variable in re.findall(r"(?<!settings\.)\bSEESAME_(?!TEST_|BENCH_)[A-Z_]*[A-Z]\b", PAGES[page]):
        assert variable in settings, variable
    for link in re.findall(r"\]\(([^)#:]+)[)#]", PAGES[page]):
        target = ((_ROOT / page).parent / link).resolve()
        assert target.exists(), link
        assert not page.startswith("docs/") or target.is_relative_to(_ROOT / "docs"), f"not in the site: {link}"
    for path in re.findall(r"\b(?:tests|tools|bench|clients|deploy|requirements|examples)/[\w/.-]*\w", PAGES[page]):
        assert (_ROOT / path).exists(), path


def test_what_is_wrong_in_a_page_is_noticed() -> None:
    """Commands and options that there are not; a comment without a reason, or with a test of another page."""
    for command, exists in {
        "import products.csv --dry-run": True,
        "db run pg_dump --schema=seesame": True,
        "--version": True,
        "imports products.csv": False,
        "import products.csv --quick": False,
        "db forget": False,
    }.items():
        assert _exists(command.split()) is exists, command
    page = "\n\n".join(
        f"<!-- {mark} -->\n```console\n$ make\n```" for mark in ("not run:", "run by tests/conftest.py", "x")
    )
    blocks = list(_blocks({"a.md": f"1. In a list:\n\n   ```sh\n   $ a \\\n     b\n   c\n   ```\n\n{page}"}))
    assert blocks[0] == Block("a.md", "", [("a \\\n  b", "c")])
    assert [_is_reason(block) for block in blocks[1:]] == [False] * 3
