"""What is checked of each answer beside the fuzzer's own checks; it loads this module."""

import re
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response
from schemathesis.checks import negative_data_rejection

_SECRETS = re.compile(
    r"Traceback|Error\(|Exception|File \"|\.py\b|psycopg|pydantic|starlette|/tmp/|127\.0\.0\.1|DETAIL:|LINE \d"
)
_BEFORE_IT_GOT_THERE = {400, 404, 405, 408, 413, 415, 431}

schemathesis.serializer.alias("application/x-ndjson", "application/octet-stream")


@schemathesis.check
def discreet(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Neither exception text, nor a path, nor an address."""
    sent = repr((case.path_parameters, case.query, case.body))
    found = {match for match in _SECRETS.findall(response.content.decode(errors="replace")) if match not in sent}
    assert not found, f"the answer tells {found}"


@schemathesis.check
def described(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """A status is described by name, unless the request was refused before it got to the operation."""
    answers = case.operation.definition.raw["responses"]
    known = str(response.status_code) in answers or response.status_code in _BEFORE_IT_GOT_THERE
    assert known, f"{response.status_code} is not described"


@schemathesis.check
def identified(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """An id, which a problem has in its body, too."""
    (current,) = response.headers["x-request-id"]
    if response.status_code >= 400:
        problem = response.json()
        assert problem["request_id"] == current
        assert problem["status"] == response.status_code


@schemathesis.check
def strict(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """What the description does not allow is refused. Forms are left out: there everything is text."""
    if case.media_type != "multipart/form-data" and response.status_code not in _BEFORE_IT_GOT_THERE:
        negative_data_rejection(ctx, response, case)
