"""What the page says: why an answer is less good than it could be, and what went wrong."""

from typing import NamedTuple

from seesame.spaces import Reason

REASONS: dict[Reason, str] = {
    "clip_unavailable": "The CLIP model was not available, so the smaller built-in model answered.",
    "clip_timeout": "The CLIP model took too long, so the smaller built-in model answered.",
    "clip_busy": "The CLIP model was busy, so the smaller built-in model answered.",
    "clip_downloading": "The CLIP model was still being downloaded, so the smaller built-in model answered.",
    "clip_indexing": "The CLIP model was still indexing, so the smaller built-in model answered.",
    "no_text_model": "CLIP, which understands words, was not available, so they were matched with the products’ texts.",
}


class Notice(NamedTuple):
    """What stands where the products would be. `code`: a command; `again`: whether trying again may help."""

    title: str
    detail: str
    code: str = ""
    again: bool = False


EMPTY = Notice("The catalogue is empty", "Fill it from a file or a folder of pictures: ", code="seesame import PATH")
NO_MATCH = Notice("No matches", "Try other words, or another photo.")
NO_MATCH_FILTERED = Notice("No matches", "No product fits these filters. Remove one to see more.")

_UNREADABLE = "This picture cannot be read"
_TITLES = {
    404: "Not found",
    413: "This photo is too large",
    415: "This file is not a picture",
    422: "This does not work",
    429: "The server is busy",
    503: "The server cannot answer now",
}


def problem(status: int, code: str, detail: str) -> Notice:
    """An error, as it is told on the page."""
    title = _UNREADABLE if code == "image_undecodable" else _TITLES.get(status, "Something went wrong")
    return Notice(title, detail, again=status == 429 or status >= 500)
