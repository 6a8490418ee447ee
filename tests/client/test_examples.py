"""The examples in the client's README and in docs/clients.md do what they say."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import seesame_client
from seesame.application import Application
from seesame.cli.serve import serving
from tests.conftest import picture
from tests.integration.test_clip_service import serving as serving_clip
from tests.integration.test_http_server import running
from tests.requirements import require_or_skip

_ROOT = Path(__file__).parents[2]
_API, _CLIP = "http://127.0.0.1:8000", "http://127.0.0.1:8001"


def examples(path: str, kind: str) -> list[str]:
    """The blocks of a page whose fence says just this."""
    return re.findall(rf"^```{kind}\n(.*?)^```", (_ROOT / path).read_text(), re.MULTILINE | re.DOTALL)


README = "clients/python/README.md"
RECIPES = "docs/clients.md"


@pytest.fixture
def url(application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A shop with one product, and a folder with a photo to work in."""
    (tmp_path / "photo.jpg").write_bytes(picture("blue"))
    monkeypatch.chdir(tmp_path)
    with serving(application) as server:
        with httpx2.Client(base_url=server.url) as client:
            client.put("/v1/products/SKU-9", json={"title": "A red boot", "price": 10, "category": "boots"})
            client.post("/v1/products/SKU-9/images", files={"image": picture("blue")})
        application.indexer.run_once(finish=True)
        yield server.url


def run(code: str, url: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Runs an example; the names that it made."""
    names = {"__name__": "example"} if names is None else names
    exec(compile(code.replace(_API, url), "example", "exec"), names)
    return names


def test_the_readme_of_the_client_works(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One example after another, with what those before have made."""
    blocks = examples(README, "python")
    names = run(blocks[0], url)
    assert capsys.readouterr().out.startswith("SKU-9 ")
    with names["client"]:
        for block in blocks[1:]:
            run(block, url, names)
    names["quick"].close()
    assert Path("thumbnail.jpg").exists()
    out = capsys.readouterr().out
    assert "1000 of 1000" in out
    assert "not_found" in out


def test_the_vectors_in_the_readme_come(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From a CLIP service."""
    (block,) = examples(README, "python clip")
    with serving_clip() as service:
        run(block.replace(_CLIP, str(service.client.base_url)), url)
    assert "immich@" in capsys.readouterr().out


def test_the_fastapi_recipe_works(url: str) -> None:
    """A photo finds its product; what is no photo is told to be none."""
    (block,) = examples(RECIPES, "python fastapi")
    names = run(block, url)
    with running(names["app"]) as shop, httpx2.Client(base_url=shop.url) as client:
        assert client.post("/search", files={"photo": picture("blue")}).json() == ["SKU-9"]
        assert client.post("/search", files={"photo": b"text"}).status_code == 415


def test_the_django_recipe_works(url: str) -> None:
    """A photo finds its product; what is no photo is told to be none."""
    (block,) = examples(RECIPES, "python django")
    program = f"""
from pathlib import Path
import django
from django.conf import settings
settings.configure(SEESAME_URL={url!r}, DEBUG=True)
django.setup()
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory
{block}
for content in (Path("photo.jpg").read_bytes(), b"text", None):
    files = {{}} if content is None else {{"photo": SimpleUploadedFile("photo.jpg", content)}}
    reply = search_by_photo(RequestFactory().post("/", files))
    print(reply.status_code, reply.content.decode())
"""
    env = {**os.environ, "PYTHONPATH": str(Path(seesame_client.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found, wrong, missing = done.stdout.splitlines()
    assert found == '200 {"product_ids": ["SKU-9"]}'
    assert (wrong[:3], missing[:3]) == ("415", "400")


def test_the_node_recipe_works(url: str) -> None:
    """A photo finds its product."""
    (block,) = examples(RECIPES, "js")
    Path("search.mjs").write_text(block.replace(_API, url))
    done = _outside("node", "search.mjs")
    assert re.fullmatch(r"SKU-9 (1|0\.9\d*)\n", done)


def test_the_curl_recipes_work(url: str) -> None:
    """In the order in which they stand."""
    *_, block = examples(RECIPES, "console")
    outputs = [
        _outside("curl", "-sS", "--fail-with-body", *shlex.split(command.replace(_API, url)))
        for command in re.findall(r"^\$ curl (.*)$", block, re.MULTILINE)
    ]
    assert len(outputs) == 6
    assert '"product_id":"SKU-9"' in outputs[2]
    assert '"product_id":"SKU-9"' in outputs[3]


def _outside(program: str, *arguments: str) -> str:
    """What another program prints."""
    if shutil.which(program) is None:
        require_or_skip(program, f"{program} is not on PATH")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
