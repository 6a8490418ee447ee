"""The API by its own description: each operation with the request that is its example."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2
import jsonschema_rs

_FORM = "multipart/form-data"
_ORDER = ("put", "post", "get", "delete")


_IMAGE, _SPACE = "8c2e1f5a-3a53-5d0e-9f6b-0e6a4f1c7d21", "vit-b-32-laion2b@3f2a9c41"
_JOB = "0b9e6c1d-5a5f-4f3e-8a57-2f6d1f0a9c34"


def known_ids(client: httpx2.Client, product_id: str) -> dict[str, str]:
    """What stands in a shop for ids that no example can know: an image of a product, the last space, and a job."""
    (image, *_) = client.get(f"/v1/products/{product_id}").json()["images"]
    spaces = client.get("/v1/spaces").json()["spaces"]
    job = client.post("/v1/imports", content=b"product_id", headers={"Content-Type": "text/csv"}).json()
    return {_IMAGE: image["id"], _SPACE: spaces[-1]["key"], _JOB: job["id"]}


class NoExample(Exception):
    """The description has no example of something that a request needs."""


@dataclass(frozen=True)
class Operation:
    """A method of a path."""

    method: str
    path: str
    description: dict[str, Any]
    document: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"

    def parameters(self, where: str) -> list[dict[str, Any]]:
        """Its parameters in the path or in the query."""
        return [one for one in self.description.get("parameters", []) if one["in"] == where]

    def url(self, **values: str) -> str:
        """Its path with these values, or else its examples, in the place of parameters."""
        url = self.path
        for parameter in self.parameters("path"):
            name = parameter["name"]
            value = values[name] if name in values else quote(str(self._example(parameter)), safe="@/")
            url = url.replace(f"{{{name}}}", value)
        return url

    def query(self) -> dict[str, str]:
        """The parameters of the query that have an example."""
        found = {one["name"]: _given(one, self.document) for one in self.parameters("query")}
        return {name: str(values[0]) for name, values in found.items() if values}

    def bodies(self, picture: bytes) -> Iterator[dict[str, Any]]:
        """The body as the client takes it: one for each media type, or one that is none."""
        content = self.description.get("requestBody", {}).get("content", {})
        for kind, media in content.items():
            example = self._example(media, picture=picture)
            if kind == "application/json":
                yield {"json": example}
            elif kind == _FORM:
                types = {name: encoding["contentType"] for name, encoding in media.get("encoding", {}).items()}
                files = {n: (n, v, types.get(n)) for n, v in example.items() if n in types or isinstance(v, bytes)}
                yield {"files": files, "data": {n: str(v) for n, v in example.items() if n not in files}}
            else:
                yield {"content": example, "headers": {"Content-Type": kind}}
        if not content:
            yield {}

    def check(self, status: int, kind: str, body: bytes) -> None:
        """Whether it says of itself that it answers so.

        Raises:
            AssertionError, jsonschema_rs.ValidationError: no.
        """
        answers = self.description["responses"]
        assert str(status) in answers, f"{status} is not described"
        content = answers[str(status)].get("content", {})
        if not content:
            assert not body
            return
        media = kind.split(";")[0]
        assert media in content, f"{media} is not described"
        if media.endswith("json"):
            schema = content[media]["schema"] | {"components": self.document["components"]}
            jsonschema_rs.Draft202012Validator(schema).validate(json.loads(body))

    def _example(self, described: dict[str, Any], *, picture: bytes = b"") -> Any:
        try:
            return example(described, self.document, picture)
        except NoExample as error:
            raise NoExample(f"{self} has no example: {error}") from None


def operations(document: dict[str, Any]) -> list[Operation]:
    """All operations in an order in which their examples work: what is made comes first, what deletes it last."""
    found = [
        Operation(method, path, description, document)
        for path, methods in document["paths"].items()
        for method, description in methods.items()
    ]
    return sorted(found, key=_rank)


def _rank(operation: Operation) -> tuple[int, int]:
    depth = operation.path.count("/")
    return _ORDER.index(operation.method), -depth if operation.method == "delete" else depth


def example(described: dict[str, Any], document: dict[str, Any], picture: bytes = b"") -> Any:
    """The first example of a schema, or of what has one; of an object without one, the examples of its properties.

    `picture` stands for every file.
    """
    given = _given(described, document)
    if given:
        return given[0]
    schema = _resolved(described.get("schema", described), document)
    if schema.get("format") == "binary":
        return picture
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return example(choice, document, picture)
    if schema.get("type") == "array":
        return [example(schema["items"], document, picture)]
    if schema.get("type") != "object" or "properties" not in schema:
        raise NoExample(json.dumps(described)[:200])
    made = {}
    for name, inner in schema["properties"].items():
        try:
            made[name] = example(inner, document, picture)
        except NoExample:
            if name in schema.get("required", ()):
                raise
    return made


def _given(described: dict[str, Any], document: dict[str, Any]) -> list[Any]:
    """Examples in any of the ways to write them."""
    for level in (described, _resolved(described.get("schema", {}), document)):
        if "example" in level:
            return [level["example"]]
        examples = level.get("examples", [])
        if examples:
            return [one["value"] for one in examples.values()] if isinstance(examples, dict) else list(examples)
    return []


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _resolved(document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], document)
    return schema
