"""A server made of an OpenAPI document: it answers what the document has, with replies in which nothing is missing."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.client.scripted import Asked, reply

_DOCS = Path(__file__).parents[2] / "docs"
_VALUES = {"string": "text", "number": 0.5, "integer": 1, "boolean": True}
_TEXTS = {"uuid": "0193a2b4-7c5d-7e6f-8a9b-0c1d2e3f4a5b", "date-time": "2026-05-01T10:00:00+00:00"}


@dataclass
class Described:
    """An API as `docs/NAME` describes it; `asked` has each request's operation and the names of what it gave."""

    name: str
    asked: list[tuple[str, set[str]]] = field(default_factory=list)
    told: Any = None

    def __post_init__(self) -> None:
        self._document = json.loads((_DOCS / self.name).read_text())
        self.operations = {
            f"{method.upper()} {path}": operation
            for path, methods in self._document["paths"].items()
            for method, operation in methods.items()
        }

    def answer(self, asked: Asked) -> Iterable[bytes]:
        """The first kind of success that the operation has."""
        name = self._met(asked)
        self.asked.append((name, _given(asked)))
        status, success = min(self.operations[name]["responses"].items())
        for kind, content in success.get("content", {}).items():
            self.told = self._sample(content["schema"]) if kind == "application/json" else b"\xff\xd8"
            body = self.told if isinstance(self.told, bytes) else json.dumps(self.told).encode()
            return reply(int(status), body, Content_Type=kind)(asked)
        self.told = None
        return reply(int(status))(asked)

    def fields(self, operation: str) -> dict[str, bool]:
        """What the operation can be given beside its path, and whether it must be."""
        described = self.operations[operation]
        fields = {each["name"]: each["required"] for each in described.get("parameters", []) if each["in"] == "query"}
        kinds = described.get("requestBody", {}).get("content", {})
        for body in [self._resolved(content["schema"]) for content in kinds.values()]:
            needed = body.get("required", []) if len(kinds) == 1 else []
            fields |= {each: each in needed for each in body.get("properties", {})}
        return fields

    def _met(self, asked: Asked) -> str:
        for name, operation in self.operations.items():
            method, _, path = name.partition(" ")
            if method == asked.method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), asked.path):
                kind = asked.headers.get("content-type", "").partition(";")[0]
                assert kind in operation.get("requestBody", {}).get("content", {"": None}), kind
                return name
        raise AssertionError(f"{asked.method} {asked.path} is not described")

    def _sample(self, schema: Any) -> Any:
        schema = self._resolved(schema)
        if "anyOf" in schema:
            return self._sample(schema["anyOf"][0])
        match schema["type"]:
            case "array":
                return [self._sample(schema["items"])]
            case "object":
                more = schema.get("additionalProperties")
                named = schema.get("properties", {}) | ({"any": more} if isinstance(more, dict) else {})
                return {name: self._sample(each) for name, each in named.items()}
        return schema.get("const") or schema.get("enum", [_TEXTS.get(schema.get("format"), _VALUES[schema["type"]])])[0]

    def _resolved(self, schema: Any) -> Any:
        reference = schema.get("$ref")
        return self._document["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


def _given(asked: Asked) -> set[str]:
    """The names of a request's parameters, and of its body's fields."""
    kind = asked.headers.get("content-type", "").partition(";")[0]
    body: set[str] = set()
    if kind == "application/json":
        body = set(asked.json)
    elif kind == "multipart/form-data":
        body = set(re.findall(r'form-data; name="(\w+)"', asked.body.decode("latin-1")))
    return set(asked.params) | body
