"""Strange values in every place of a URL that takes one, as the API's own description lists them."""

import json
import re
from pathlib import Path

import httpx2
import pytest

from seesame.api.app import describe
from tests.openapi import Operation, operations

_OPERATIONS = operations(describe())
_SECRETS = re.compile(r"Traceback|Error\(|Exception|\.py|psycopg|pydantic|/tmp|SELECT|DETAIL|line \d")

# As they go over the wire.
STRANGE = {
    "empty": "",
    "NUL": "a%00b",
    "half a pair": "%ED%A0%80",
    "no UTF-8": "%FF%FE",
    "line break": "a%0D%0AX-Evil:%201",
    "statement": "';DROP%20TABLE%20seesame.products;--",
    "condition": "a'%20OR%20'1'='1",
    "format": "%25s%25(id)s%7B0%7D$%7Bx%7D",
    "parents": "..%2F..%2F..%2Fetc%2Fpasswd",
    "encoded parents": "%2e%2e/%2e%2e/x",
    "long": "x" * 10_000,
    "right to left": "%E2%80%AEgpj",
    "script": "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "negative": "-1",
    "huge": "1" + "0" * 12,
    "fraction": "1.5",
    "none": "NaN",
    "endless": "Infinity",
    "other digits": "%C2%B2%D9%A3",
    "list": "%5B1%2C2%5D",
    "object": "%7B%22a%22%3A%7B%7D%7D",
    "another id": "00000000-0000-0000-0000-000000000000",
}  # fmt: skip


def _ask(server: httpx2.Client, operation: Operation, url: str) -> None:
    body = next(operation.bodies(b"no picture"))
    reply = server.request(operation.method.upper(), url, **body)
    assert reply.status_code < 500, (url[:100], reply.text)
    assert "x-evil" not in reply.headers
    if reply.status_code >= 400:
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["request_id"]
        assert not _SECRETS.search(reply.text), reply.text


@pytest.mark.parametrize("operation", [one for one in _OPERATIONS if one.parameters("path")], ids=str)
def test_strange_ids(shared_server: httpx2.Client, operation: Operation) -> None:
    """Not found, refused, or taken literally; and the process goes on."""
    for parameter in operation.parameters("path"):
        for value in STRANGE.values():
            _ask(shared_server, operation, operation.url(**{parameter["name"]: value}))
    assert shared_server.get("/v1/products").json()["total"] <= len(STRANGE)
    assert shared_server.get("/health/ready").status_code == 200


@pytest.mark.parametrize("operation", [one for one in _OPERATIONS if one.parameters("query")], ids=str)
def test_strange_parameters(shared_server: httpx2.Client, operation: Operation) -> None:
    """Alone, and twice."""
    for parameter in operation.parameters("query"):
        for value in STRANGE.values():
            url = f"{operation.url()}?{parameter['name']}={value}"
            _ask(shared_server, operation, url)
            _ask(shared_server, operation, f"{url}&{parameter['name']}={value[:5_000]}")
    assert shared_server.get("/health/ready").status_code == 200


def test_the_committed_description_is_walked() -> None:
    """So that no operation is forgotten."""
    document = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
    assert [str(one) for one in operations(document)] == [str(one) for one in _OPERATIONS]
