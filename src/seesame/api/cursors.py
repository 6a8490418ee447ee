"""Where the next page of a list begins, as a token that means nothing to those who pass it on."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from pydantic import TypeAdapter

from seesame.catalogue import check_text
from seesame.errors import InvalidInput
from seesame.types import ListPlace

_PLACE = TypeAdapter(ListPlace)


def token_of(place: ListPlace) -> str:
    """The token of a place."""
    return urlsafe_b64encode(_PLACE.dump_json(place)).decode().rstrip("=")


def place_of(token: str) -> ListPlace:
    """The place that a token means.

    Raises:
        InvalidInput: it was made up.
    """
    try:
        place = _PLACE.validate_json(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError as error:
        raise InvalidInput("cursor", "The `next` of an earlier answer is needed.") from error
    check_text("cursor", place.product_id, len(token))
    return place
