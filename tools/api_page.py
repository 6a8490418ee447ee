"""docs/api.md: the API's description as a page to read."""

import json
from collections.abc import Iterator
from typing import Any

_HEAD = """\
# HTTP API

Made from [openapi.json](openapi.json), which a running server has at `/openapi.json`, too; the CLIP service's is
[clip-openapi.json](clip-openapi.json). [Searching](searching.md) and [importing](importing.md) show how it is used.

Every answer carries `X-Request-ID`, which is in the log as well. An error is `application/problem+json`
([ProblemOut](#problemout)): `code` is stable and for programs, `detail` is for people. 429 and 503 say in
`Retry-After` when to come again. Every operation may answer 4XX before it is reached: a path or a method that is not
there, a body that cannot be read.
"""


def api_page(description: dict[str, Any]) -> str:
    """The page for an OpenAPI description: the operations by tag, then the objects they take and give."""
    tags: dict[str, list[str]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            tags.setdefault(operation["tags"][0], []).append(_operation(f"{method.upper()} {path}", operation))
    parts = [_HEAD]
    for tag, operations in tags.items():
        parts += [f"## {tag.capitalize()}\n", *operations]
    parts.append("## Objects\n")
    for name, schema in description["components"]["schemas"].items():
        parts.append(f"### {name}\n\n{_words(schema)}\n\n{_table('field', _properties(schema))}")
    return "\n".join(parts)


def _operation(title: str, operation: dict[str, Any]) -> str:
    text = f"### `{title}`\n\n{operation.get('description', operation['summary'])}\n\n"
    parameters = [(p["name"], p["schema"], p.get("required", False)) for p in operation.get("parameters", [])]
    text += _table("parameter", parameters)
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        of_kind = f": {_kind(schema)}" if "$ref" in schema else ""
        text += f"Body `{kind}`{of_kind}\n\n" + _table("part", _properties(schema))
    return text + f"Answers {', '.join(_answers(operation['responses']))}.\n"


def _answers(responses: dict[str, Any]) -> Iterator[str]:
    for status, response in responses.items():
        content: dict[str, Any] = next(iter(response.get("content", {}).values()), {})
        if status.startswith("2") and "$ref" in content.get("schema", {}):
            yield f"{status} {_kind(content['schema'])}"
        elif status != "4XX":
            yield status


def _properties(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any], bool]]:
    needed = schema.get("required", [])
    return [(name, of_name, name in needed) for name, of_name in schema.get("properties", {}).items()]


def _table(what: str, rows: list[tuple[str, dict[str, Any], bool]]) -> str:
    if not rows:
        return ""
    lines = [f"| {what} | value | default | meaning |", "|---|---|---|---|"]
    for name, schema, needed in rows:
        default = (
            "needed"
            if needed
            else f"`{json.dumps(schema['default'])}`"
            if schema.get("default") not in (None, "")
            else ""
        )
        lines.append(f"| `{name}` | {_kind(schema)} | {default} | {_words(schema)} |")
    return "\n".join(lines) + "\n\n"


def _words(schema: dict[str, Any]) -> str:
    return " ".join(schema.get("description", "").split()).replace("|", "\\|")


def _kind(schema: dict[str, Any]) -> str:
    """What a value may be, in few words."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": list(options)}:
            return " or ".join(_kind(option) for option in options)
        case {"enum": list(values)}:
            return ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"type": "array", "items": dict(items)}:
            return f"list of {_kind(items)}{_bounds(schema)}"
        case {"type": "string", "format": str(form)}:
            return "file" if form == "binary" else form
        case {"type": str(kind)}:
            return {"string": "text", "boolean": "true or false", "integer": "whole number"}.get(kind, kind) + _bounds(
                schema
            )
        case _:
            return "any"


def _bounds(schema: dict[str, Any]) -> str:
    least = next((schema[name] for name in ("minimum", "minLength", "minItems") if name in schema), None)
    most = next((schema[name] for name in ("maximum", "maxLength", "maxItems") if name in schema), None)
    bounds = [f"{word} {bound:,.12g}" for word, bound in (("from", least), ("to", most)) if bound is not None]
    return "".join(f" {bound}" for bound in bounds)
