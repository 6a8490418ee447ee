"""Python client of Seesame, visual search for a product catalogue."""

from seesame_client.client import AsyncClient, AsyncClipClient, Client, ClipClient
from seesame_client.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    InvalidReply,
    InvalidRequest,
    JobFailed,
    NotAllowed,
    NotFound,
    Refused,
    SeesameError,
    Unavailable,
    Unreachable,
)
from seesame_client.queries import Query
from seesame_client.results import Answer, Image, Job, Product, Region, Result
from seesame_client.retrying import Retry
from seesame_client.version import __version__

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncClipClient",
    "Busy",
    "Client",
    "ClipClient",
    "Conflict",
    "DeadlineExceeded",
    "Image",
    "InvalidReply",
    "InvalidRequest",
    "Job",
    "JobFailed",
    "NotAllowed",
    "NotFound",
    "Product",
    "Query",
    "Refused",
    "Region",
    "Result",
    "Retry",
    "SeesameError",
    "Unavailable",
    "Unreachable",
    "__version__",
]
