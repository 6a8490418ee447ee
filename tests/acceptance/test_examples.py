"""Every operation has an example in the API's description, and it works."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from seesame.application import Application
from seesame.db.embedded import EmbeddedPostgres
from tests.conftest import Shop, sample_shop
from tests.models import until
from tests.openapi import NoExample, Operation, known_ids, operations
from tests.picture_host import PictureHost, picture_host

_TESTS = Path(__file__).parents[1]
_DOCUMENT = json.loads((_TESTS.parent / "docs" / "openapi.json").read_text())


@pytest.fixture(scope="module")
def host() -> Iterator[PictureHost]:
    """Where pictures lie that examples name."""
    with picture_host() as host:
        yield host


@pytest.fixture(scope="module")
def shop(
    host: PictureHost, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path
) -> Iterator[Shop]:
    """A sample catalogue with a space that answers and another that can."""

    def prepare(application: Application) -> None:
        first = application.add_space(str(_TESTS / "goldens" / "transformers_js"))
        application.spaces.activate(first.key)
        application.add_space(str(_TESTS / "goldens" / "immich"))

    folder = tmp_path_factory.mktemp("sample")
    options: dict[str, Any] = {"every": 16, "prepare": prepare, "image_host": host.name}
    with sample_shop(postgres, folder, cache_dir, **options) as shop:
        host.pictures["/umbrella.jpg"] = shop.photo.read_bytes()
        yield shop


@pytest.fixture(scope="module")
def client(shop: Shop) -> Iterator[httpx2.Client]:
    """A client of its server."""
    with httpx2.Client(base_url=shop.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def known(host: PictureHost, shop: Shop, client: httpx2.Client) -> dict[str, str]:
    """What stands here for ids that nobody can know beforehand."""
    return known_ids(client, shop.photo_product_id) | {"https://images.example/umbrella.jpg": host.url("/umbrella.jpg")}


def _with(known: dict[str, str], value: Any) -> Any:
    """The value with the ids of this shop."""
    match value:
        case str():
            return next((value.replace(example, real) for example, real in known.items() if example in value), value)
        case dict():
            return {name: _with(known, inner) for name, inner in value.items()}
        case list():
            return [_with(known, inner) for inner in value]
        case _:
            return value


@pytest.mark.parametrize("operation", operations(_DOCUMENT), ids=str)
def test_the_example_of_an_operation_works(
    client: httpx2.Client, shop: Shop, known: dict[str, str], operation: Operation
) -> None:
    """It succeeds, and the answer is as it is described, in each form that the request may have."""
    until(lambda: not any(space["missing"] for space in client.get("/v1/spaces").json()["spaces"]))
    for body in operation.bodies(shop.photo.read_bytes()):
        request = {"url": operation.url(), "params": operation.query()} | body
        reply = client.request(operation.method.upper(), **_with(known, request))
        assert reply.is_success, reply.text
        operation.check(reply.status_code, reply.headers.get("content-type", ""), reply.content)


def test_a_description_without_an_example_is_noticed() -> None:
    """Of a parameter in the path, of a body as a whole, of a part that the body needs."""
    text, needed = {"schema": {"type": "string"}}, {"type": "object", "properties": {"a": {}}, "required": ["a"]}
    for description in (
        {"parameters": [{"in": "path", "name": "id", "required": True, **text}]},
        {"requestBody": {"content": {"text/csv": text}}},
        {"requestBody": {"content": {"application/json": {"schema": needed}}}},
    ):
        operation = Operation("post", "/v1/{id}", {"responses": {}, **description}, {"components": {"schemas": {}}})
        with pytest.raises(NoExample, match=r"POST /v1/\{id\}"):
            operation.url(), list(operation.bodies(b""))
