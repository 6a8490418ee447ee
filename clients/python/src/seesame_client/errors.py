"""Every error that the client raises on purpose.

SeesameError
├── Unreachable             no reply: no connection, or one that was cut
│   └── DeadlineExceeded    no reply in time, tries and pauses included; also a job that is not over in time
├── InvalidReply            a reply that makes no sense: something else than Seesame may have answered
├── Refused                 a problem of the server: `status`, `code`, `detail`, `request_id`
│   ├── InvalidRequest      400, 413, 415, 422: the request or its photo is at fault; `fields` names what is wrong
│   ├── NotAllowed          401, 403: a key is needed, is none, or is not for this
│   ├── NotFound            404
│   ├── Conflict            409
│   ├── Busy                429: come again after `retry_after_s`
│   └── Unavailable         502, 503, 504: likewise, when the server is well again
└── JobFailed               a job that was waited for has failed or was cancelled; `job` has the reasons

`code` is stable, so programs compare it; `str(error)` is for people. All can be pickled, as queues of tasks do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seesame_client.results import Job


class SeesameError(Exception):
    """Base of all errors raised on purpose."""


class Unreachable(SeesameError):
    """No reply came. `__cause__` is the error of the HTTP library, if there is one."""

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class DeadlineExceeded(Unreachable):
    """No reply came in time."""


class InvalidReply(SeesameError):
    """A reply that makes no sense."""

    def __init__(self, status: int, request_id: str | None) -> None:
        super().__init__(status, request_id)
        self.status = status
        self.request_id = request_id

    def __str__(self) -> str:
        return "The reply makes no sense. Is this Seesame's address?"


class Refused(SeesameError):
    """The server answered with a problem."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        request_id: str | None = None,
        fields: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.fields = dict(fields or {})
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        wrong = "".join(f" {field}: {message}" for field, message in self.fields.items())
        return f"{self.detail}{wrong} ({' '.join(filter(None, [str(self.status), self.code]))})"


class InvalidRequest(Refused):
    """The request, or a photo in it, is at fault: sent again, it fails again."""


class NotAllowed(Refused):
    """A key is needed, was revoked or is over, or is not for this."""


class NotFound(Refused):
    """There is no such product, image, job or space."""


class Conflict(Refused):
    """Not possible as things are."""


class Busy(Refused):
    """The server has more to do than it can."""


class Unavailable(Refused):
    """The server, or what it needs, is down."""


class JobFailed(SeesameError):
    """A job has failed or was cancelled."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        return self.job.message or f"The job {self.job.id} is {self.job.status}."


_KINDS: Mapping[int, type[Refused]] = {
    400: InvalidRequest,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: Busy,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def refusal(status: int, problem: Mapping[str, Any], **facts: Any) -> Refused:
    """The error that a problem is; one of the server's that has no class of its own is a plain `Refused`."""
    wrong = problem.get("errors")
    fields = {
        str(field.get("field", "")): str(field.get("message", ""))
        for field in (wrong if isinstance(wrong, list) else [])
        if isinstance(field, dict)
    }
    kind = _KINDS.get(status, Refused)
    return kind(status, str(problem.get("code", "")), str(problem.get("detail", "")), fields=fields, **facts)
