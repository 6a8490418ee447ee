"""The clients and the APIs' descriptions say the same: methods ask for what there is, and read all that comes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from seesame_client import Client, ClipClient, Query, Region, Retry
from seesame_client.api import Api, ClipApi
from tests.client.described import Described
from tests.client.scripted import Server, serving

API, CLIP_API = Described("openapi.json"), Described("clip-openapi.json")

PHOTO = Query.photo(b"photo")
BOX = Region(0, 0, 1, 1)
FILTER = {"brand": "x"}
PAGE: dict[str, Any] = {"limit": 3, "offset": 2, "cursor": "c", "filter": FILTER, "facets": ["brand"]}
MORE: dict[str, Any] = {"min_similarity": 0.1, "explain": True, "hybrid": False}
PRODUCT: dict[str, Any] = {"category": "a", "brand": "b", "price": 1, "currency": "c", "url": "d", "attributes": {}}

CALLS: dict[str, Callable[[Client], Any]] = {
    "search": lambda client: client.search(Query.text("boots"), **PAGE, **MORE),
    "search by a photo": lambda client: client.search(Query.photo(b"photo", region=BOX), **PAGE, **MORE),
    "search_all": lambda client: [next(client.search_all(PHOTO))],
    "search_regions": lambda client: client.search_regions(PHOTO, [BOX], limit=3, filter=FILTER),
    "similar": lambda client: client.similar("SKU-9", **PAGE),
    "forget_photo": lambda client: client.forget_photo("q_1"),
    "put_product": lambda client: client.put_product("SKU-9", **PRODUCT),
    "product": lambda client: client.product("SKU-9"),
    "products": lambda client: [next(client.products(filter=FILTER))],
    "list_products": lambda client: client.list_products(limit=3, offset=2, filter=FILTER),
    "delete_product": lambda client: client.delete_product("SKU-9"),
    "add_image": lambda client: client.add_image("SKU-9", b"photo"),
    "delete_image": lambda client: client.delete_image("SKU-9", "i"),
    "picture": lambda client: client.picture("i", thumbnail=True),
    "save_picture": lambda client: client.save_picture("i", Path("picture.jpg"), thumbnail=True).read_bytes(),
    "start_import": lambda client: client.start_import([{"product_id": "SKU-9"}], mode="sync", force=True),
    "job": lambda client: client.job("j"),
    "jobs": lambda client: [next(client.jobs())],
    "cancel_job": lambda client: client.cancel_job("j"),
    "save_job_errors": lambda client: client.save_job_errors("j", Path("errors.csv")).read_bytes(),
    "failures": lambda client: [next(client.failures())],
    "retry_failures": lambda client: client.retry_failures("SKU-9"),
    "spaces": lambda client: client.spaces(),
    "add_space": lambda client: client.add_space("fashion-clip"),
    "activate_space": lambda client: client.activate_space("k"),
    "roll_back_space": lambda client: client.roll_back_space("k"),
    "stats": lambda client: client.stats(),
    "health": lambda client: client.health(),
}
CLIP_CALLS: dict[str, Callable[[ClipClient], Any]] = {
    "extract_features": lambda client: client.extract_features(b"photo"),
    "extract_features_batch": lambda client: client.extract_features_batch([b"photo", b"photo"]),
    "extract_text_features": lambda client: client.extract_text_features(["boots"]),
}

# What no method asks for.
LEFT_OUT = {
    "POST /v1/search region": "each query has its own",
    "POST /v1/search/image text": "words beside a photo are a query of their own",
    "POST /v1/imports file": "the file is the body",
    "GET /v1/jobs offset": "of the next page",
    "GET /v1/failures offset": "of the next page",
}
WATCHED = {"GET /metrics", "GET /health/live", "GET /health/ready"}  # by Prometheus, and by whoever starts processes


@dataclass
class Exchange:
    """What a method asked for, what it gave there, and what came back as which value."""

    operation: str
    given: set[str]
    told: Any
    value: Any


@pytest.fixture(scope="module")
def exchanges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exchange]:
    """One of each method."""
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(Server(always=API.answer)) as api,
        serving(Server(always=CLIP_API.answer)) as clip_api,
        Client(api.url, retry=Retry(tries=1)) as client,
        ClipClient(clip_api.url, retry=Retry(tries=1)) as clip,
    ):
        patch.chdir(tmp_path_factory.mktemp("saved"))
        return dict([*_exchanges(API, CALLS, client), *_exchanges(CLIP_API, CLIP_CALLS, clip)])


def _exchanges(
    api: Described, calls: Mapping[str, Callable[[Any], Any]], client: Any
) -> Iterator[tuple[str, Exchange]]:
    for name, call in calls.items():
        value = call(client)
        yield name, Exchange(*api.asked[-1], api.told, value)


def test_every_method_is_called_here() -> None:
    """But for `wait_for_job`, which asks for the job again and again."""
    assert {name.partition(" ")[0] for name in CALLS} == _methods(Api) - {"wait_for_job"}
    assert set(CLIP_CALLS) == _methods(ClipApi)


def _methods(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


@pytest.mark.parametrize("method", [*CALLS, *CLIP_CALLS])
def test_a_method_asks_for_what_there_is(exchanges: dict[str, Exchange], method: str) -> None:
    """All that it gives is described, and it gives what is needed."""
    asked = exchanges[method]
    fields = (CLIP_API if method in CLIP_CALLS else API).fields(asked.operation)
    assert asked.given <= set(fields)
    assert asked.given >= {name for name, needed in fields.items() if needed}


@pytest.mark.parametrize("method", [*CALLS, *CLIP_CALLS])
def test_a_method_reads_all_that_comes(exchanges: dict[str, Exchange], method: str) -> None:
    """Each field of the reply is in the value, and says the same."""
    assert [at for at, value, told in _pairs(exchanges[method]) if not _alike(value, told)] == []


def test_nothing_is_read_that_never_comes(exchanges: dict[str, Exchange]) -> None:
    """Each field of a value is in some reply."""
    unread: dict[type, set[str]] = {}
    for exchange in exchanges.values():
        for _, value, told in _pairs(exchange):
            if is_dataclass(value):
                unread.setdefault(type(value), {each.name for each in fields(value)}).difference_update(told)
    assert {kind.__name__: names for kind, names in unread.items() if names} == {}


def test_all_that_is_described_has_a_method(exchanges: dict[str, Exchange]) -> None:
    """Each operation, and all that it can be given, but for what is left out on purpose."""
    given: dict[str, set[str]] = {}
    for method in CALLS:
        given.setdefault(exchanges[method].operation, set()).update(exchanges[method].given)
    assert set(API.operations) - set(given) == WATCHED
    assert {f"{name} {each}" for name in given for each in set(API.fields(name)) - given[name]} == set(LEFT_OUT)
    assert {exchanges[method].operation for method in CLIP_CALLS} == set(CLIP_API.operations) - WATCHED - {
        "GET /health"
    }


def _pairs(exchange: Exchange) -> Iterator[tuple[str, Any, Any]]:
    """Each value with what it was read from, and where that is; of all pages the first item."""
    told = exchange.told
    if isinstance(exchange.value, list):
        (told,) = (each for each in told.values() if isinstance(each, list))
    yield from _within("reply", exchange.value, told)


def _within(at: str, value: Any, told: Any) -> Iterator[tuple[str, Any, Any]]:
    yield at, value, told
    if isinstance(told, list) and isinstance(value, list | tuple):
        parts = [(str(number), each, told[number]) for number, each in enumerate(value)]
    elif isinstance(told, dict):
        names = value if isinstance(value, Mapping) else {name: getattr(value, name, "unread") for name in told}
        parts = [(name, names.get(name, "unread"), each) for name, each in told.items()]
    else:
        parts = []
    for name, each, of in parts:
        yield from _within(f"{at}.{name}", each, of)


def _alike(value: Any, told: Any) -> bool:
    if isinstance(told, dict):
        return is_dataclass(value) or isinstance(value, Mapping)
    if isinstance(told, list):
        return isinstance(value, list | tuple) and len(value) == len(told)
    return bool((value.isoformat() if isinstance(value, datetime) else value) == told)
