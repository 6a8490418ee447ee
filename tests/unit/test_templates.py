"""The page's templates, with answers that do not all have the same fields."""

import re
from typing import Any

import pytest

from seesame.web.templating import environment
from seesame.web.wish import Wish
from seesame.web.words import REASONS

_TEMPLATES = environment(price=str, web_address=str, label=str)
_PRODUCT = dict.fromkeys(("title", "url", "price", "currency", "brand", "category")) | {"product_id": "A"}
_HIT = {"product": _PRODUCT, "image": None, "similarity": 0.514}
_ANSWER = {"degraded_reason": None, "search": {"method": "exact"}, "took_ms": 3.0, "space": "x@1"}


def _page(hit: dict[str, Any], answer: dict[str, Any]) -> str:
    shown: dict[str, Any] = {"wish": Wish(words="boots"), "photo": None, "has_photo": False, "products": {}}
    shown |= {"fields": [], "total": None, "next": None, "notice": None, "reasons": REASONS}
    return _TEMPLATES.get_template("page.html").render(shown, hits=[hit], answer=answer)


@pytest.mark.parametrize(
    ("more", "match"),
    [({}, "Similarity 0.51"), ({"score": None}, "Similarity 0.51"), ({"score": 0.923}, "Match: 92 %")],
)
def test_card_shows_the_score_where_there_is_one(more: dict[str, float | None], match: str) -> None:
    """How well a product matches is told by its calibrated score, or else by its raw similarity."""
    page = _page(_HIT | more, _ANSWER)
    told = re.findall(r'<p class="match"[^>]*>(.*?)</p>', page)
    assert [re.sub("<.*?>", "", text) for text in told] == [match]


@pytest.mark.parametrize(("more", "told"), [({}, 0), ({"good_match": True}, 0), ({"good_match": False}, 1)])
def test_page_says_that_nothing_matches_well(more: dict[str, bool], told: int) -> None:
    """Where the nearest products are far, the page says so; where the answer does not tell, it says nothing."""
    assert _page(_HIT, _ANSWER | more).count("Nothing here is a good match") == told
