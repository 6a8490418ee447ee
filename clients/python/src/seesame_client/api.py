"""What the clients can be asked. Each method is written once: `calls` has what `Call`, `Pages` and `Waiting` give."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from seesame_client.calls import Call, Pages, Place, Receive, Waiting, one, operation, parsed, saved
from seesame_client.queries import JSON, Photo, Query, chunks, file_kind, lines, read_photo, written
from seesame_client.reading import read, read_page
from seesame_client.results import (
    Activated,
    Answer,
    Failure,
    Features,
    FeaturesBatch,
    Health,
    Image,
    Job,
    Product,
    ProductPage,
    Region,
    RegionsAnswer,
    Result,
    Retried,
    Spaces,
    Stats,
)

T = TypeVar("T")

Filter = Mapping[str, Any]
"""Conditions by field: `{"category": ["shoes", "boots"], "price": {"lt": 100}, "attributes.color": {"not": "red"}}`."""

_MAX_LIMIT = 200


class SearchOptions(TypedDict, total=False):
    """What a search can be given beside its subject and its page."""

    filter: Filter
    facets: Sequence[str]
    """Fields whose most frequent values are counted, such as `brand` or `attributes.color`."""
    min_similarity: float
    explain: bool
    hybrid: bool
    """Whether words are looked for in the texts of products, too. The server does so if nothing is said."""


class Api:
    """The methods of `Client` and `AsyncClient`. Every one raises `SeesameError`; see `errors` for its kinds."""

    # Search

    @operation
    def search(
        self,
        *queries: Query,
        limit: int = 10,
        offset: int = 0,
        cursor: str | None = None,
        **options: Unpack[SearchOptions],
    ) -> Call[Answer]:
        """Products that match a photo, words, a product, or up to eight such queries together.

        `cursor` is the answer's `next`: it goes on where that page ended, and `offset` does not count.
        """
        return _search(queries, _given(limit=limit, offset=offset or None, cursor=cursor, **options), one(Answer))

    @operation
    def search_all(self, *queries: Query, page_size: int = 50, **options: Unpack[SearchOptions]) -> Pages[Result]:
        """All that `search` finds, best first, page by page. The server goes no further than 10,000 products."""

        def page(place: Place) -> Call[tuple[Sequence[Result], Place | None]]:
            def reader(body: bytes) -> tuple[Sequence[Result], Place | None]:
                answer = read(Answer, body)
                more = not answer.search.exhausted
                return answer.results, _following(place, len(answer.results), answer.next, more=more)

            return _search(queries, {"limit": page_size, **options, **place}, parsed(reader))

        return Pages(page)

    @operation
    def search_regions(
        self,
        photo: Query,
        regions: Sequence[Region] | None = None,
        *,
        limit: int = 5,
        filter: Filter | None = None,
    ) -> Call[RegionsAnswer]:
        """Products for up to five parts of a photo, each by itself. The server proposes parts if none are named."""
        fields = photo.fields()
        if "image" not in fields:
            raise ValueError("A photo, a URL or an image is needed.")
        parts = None if regions is None else [asdict(region) for region in regions]
        body = _given(image=fields["image"], regions=parts, limit=limit, filter=filter)
        return _post("v1/search/regions", one(RegionsAnswer), body)

    @operation
    def similar(
        self,
        product_id: str,
        *,
        limit: int = 10,
        offset: int = 0,
        cursor: str | None = None,
        filter: Filter | None = None,
        facets: Sequence[str] = (),
    ) -> Call[Answer]:
        """Other products that look like this one. `cursor` as in `search`."""
        path = f"{_product(product_id)}/similar"
        return _get(path, one(Answer), limit=limit, offset=offset, cursor=cursor, filter=filter, facets=facets)

    @operation
    def forget_photo(self, image_id: str) -> Call[None]:
        """Lets the server forget the photo of an earlier query, by the answer's `image_id`, at once."""
        return _delete(f"v1/search/images/{_quoted(image_id)}")

    # Catalogue

    @operation
    def put_product(
        self,
        product_id: str,
        *,
        title: str = "",
        description: str = "",
        category: str | None = None,
        brand: str | None = None,
        price: Decimal | float | None = None,
        currency: str | None = None,
        url: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Call[Product]:
        """Creates or replaces a product. Its pictures stay."""
        texts = {"title": title, "description": description, "category": category, "brand": brand}
        body = _given(**texts, price=price, currency=currency, url=url, attributes=attributes)
        options = {"content": written(body), "headers": JSON}
        return Call(method="PUT", path=_product(product_id), options=options, receive=one(Product))

    @operation
    def product(self, product_id: str) -> Call[Product]:
        """One product with its pictures."""
        return _get(_product(product_id), one(Product))

    @operation
    def products(self, *, filter: Filter | None = None) -> Pages[Product]:
        """All products, the newest first, page by page."""
        return _pages("v1/products", Product, "products", filter=filter)

    @operation
    def list_products(self, *, limit: int = 24, offset: int = 0, filter: Filter | None = None) -> Call[ProductPage]:
        """One page of products, the newest first."""
        return _get("v1/products", one(ProductPage), limit=limit, offset=offset, filter=filter)

    @operation
    def delete_product(self, product_id: str) -> Call[None]:
        """Deletes a product and its pictures."""
        return _delete(_product(product_id))

    @operation
    def add_image(self, product_id: str, photo: Photo) -> Call[Image]:
        """Adds a picture to a product. The same bytes again are the same picture."""
        path = f"{_product(product_id)}/images"
        return Call(method="POST", path=path, options={"files": {"image": _file(photo)}}, receive=one(Image))

    @operation
    def delete_image(self, product_id: str, image_id: str) -> Call[None]:
        """Deletes one picture of a product."""
        return _delete(f"{_product(product_id)}/images/{_quoted(image_id)}")

    @operation
    def picture(self, image_id: str, *, thumbnail: bool = False) -> Call[bytes]:
        """A picture as JPEG."""
        return _picture(image_id, thumbnail, parsed(bytes))

    @operation
    def save_picture(self, image_id: str, path: str | os.PathLike[str], *, thumbnail: bool = False) -> Call[Path]:
        """Writes a picture to a JPEG file, which is there when all of it is."""
        return _picture(image_id, thumbnail, saved(Path(path)))

    # Imports and jobs

    @operation
    def start_import(
        self,
        products: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
        *,
        mode: Literal["merge", "sync"] = "merge",
        force: bool = False,
    ) -> Call[Job]:
        """Begins to import a file (.csv, .tsv, .jsonl) or products; `wait_for_job` waits for the end.

        Products are mappings with `product_id` and what `put_product` takes, `images` as URLs, and any attributes.
        They are sent as they come, never all in memory, and once: a failed upload is not repeated. With mode `sync`,
        products that are not named are deleted; the server refuses to delete many of them unless `force` is given.
        """
        if isinstance(products, str | os.PathLike):
            path = Path(products)
            headers = {"Content-Type": file_kind(path), "Content-Length": str(path.stat().st_size)}
            stream = partial(chunks, path)
        else:
            headers = {"Content-Type": "application/x-ndjson"}
            stream = partial(lines, products)
        return Call(
            method="POST",
            path="v1/imports",
            options={"params": _flat(mode=mode, force=force or None), "headers": headers},
            stream=stream,
            receive=one(Job),
            repeatable=False,
            patient=True,
        )

    @operation
    def job(self, job_id: str) -> Call[Job]:
        """How far a job is, and the first of its errors."""
        return _get(_job(job_id), one(Job))

    @operation
    def wait_for_job(
        self,
        job_id: str,
        *,
        on_progress: Callable[[Job], object] | None = None,
        every_s: float = 1.0,
        timeout_s: float | None = None,
    ) -> Waiting:
        """Waits until a job has succeeded, and calls `on_progress` each time it was looked at.

        Raises:
            JobFailed: it failed or was cancelled.
            DeadlineExceeded: it was not over after `timeout_s`; it goes on.
        """
        return Waiting(_get(_job(job_id), one(Job)), on_progress, every_s, timeout_s)

    @operation
    def jobs(self) -> Pages[Job]:
        """All jobs of the last two weeks without their errors, the newest first, page by page."""
        return _pages("v1/jobs", Job, "jobs")

    @operation
    def cancel_job(self, job_id: str) -> Call[Job]:
        """Ends a job that waits or runs; what it has imported stays."""
        return _post(f"{_job(job_id)}/cancel", one(Job))

    @operation
    def save_job_errors(self, job_id: str, path: str | os.PathLike[str]) -> Call[Path]:
        """Writes all errors of a job to a CSV file, which is there when all of it is."""
        return _get(f"{_job(job_id)}/errors", saved(Path(path)))

    # Pictures that cannot be used

    @operation
    def failures(self) -> Pages[Failure]:
        """Images that have no vector, and why, page by page. The server goes no further than the first 10,000."""
        return _pages("v1/failures", Failure, "failures")

    @operation
    def retry_failures(self, product_id: str | None = None) -> Call[Retried]:
        """Lets the images that have failed, of one product or of all, be tried anew."""
        return _post("v1/failures/retry", one(Retried), _given(product_id=product_id))

    # Models, and how the server is

    @operation
    def spaces(self) -> Call[Spaces]:
        """Every space, and the models whose spaces are to come."""
        return _get("v1/spaces", one(Spaces))

    @operation
    def add_space(self, model: str) -> Call[Spaces]:
        """Begins a space for another model."""
        return _post("v1/spaces", one(Spaces), {"model": model})

    @operation
    def activate_space(self, key: str) -> Call[Activated]:
        """Lets a space answer from now on. It may take as long as its index takes to build."""
        return _post(f"v1/spaces/{_quoted(key)}/activate", one(Activated), patient=True)

    @operation
    def roll_back_space(self, key: str) -> Call[Activated]:
        """Leaves the space that answers: the one before it answers again."""
        return _post(f"v1/spaces/{_quoted(key)}/rollback", one(Activated), repeatable=False, patient=True)

    @operation
    def stats(self) -> Call[Stats]:
        """What the catalogue holds and what answers."""
        return _get("v1/stats", one(Stats))

    @operation
    def health(self) -> Call[Health]:
        """What works."""
        return _get("health", one(Health))


class ClipApi:
    """The methods of `ClipClient` and `AsyncClipClient`."""

    @operation
    def extract_features(self, photo: Photo) -> Call[Features]:
        """The vector of a picture."""
        options = {"content": read_photo(photo), "headers": {"Content-Type": "application/octet-stream"}}
        return Call(method="POST", path="extract-features", options=options, receive=one(Features))

    @operation
    def extract_features_batch(self, photos: Iterable[Photo]) -> Call[FeaturesBatch]:
        """The vectors of up to 32 pictures; one that cannot be used has an error instead."""
        files = [("images", _file(photo)) for photo in photos]
        return Call(method="POST", path="extract-features/batch", options={"files": files}, receive=one(FeaturesBatch))

    @operation
    def extract_text_features(self, texts: Sequence[str]) -> Call[FeaturesBatch]:
        """The vectors of up to 32 texts, in the same space as the pictures."""
        return _post("extract-text-features", one(FeaturesBatch), {"texts": list(texts)})


def _search(queries: Sequence[Query], options: Mapping[str, Any], receive: Receive[T]) -> Call[T]:
    """A photo alone goes as a file, which is a quarter shorter than base64."""
    if not queries:
        raise ValueError("What is searched for?")
    first = queries[0]
    if len(queries) > 1 or first.picture is None or first.weight != 1.0:
        return _post("v1/search", receive, {"queries": [query.fields() for query in queries], **options})
    region = None if first.region is None else asdict(first.region)
    form = {"files": {"image": _file(first.picture)}, "data": _flat(**options, region=region)}
    return Call(method="POST", path="v1/search/image", options=form, receive=receive)


def _pages(path: str, kind: type[T], name: str, **filters: Any) -> Pages[T]:
    """All items of a list, which each page has under a name."""

    def page(place: Place) -> Call[tuple[Sequence[T], Place | None]]:
        def reader(body: bytes) -> tuple[Sequence[T], Place | None]:
            page = read_page(kind, name, body)
            more = place.get("offset", 0) + len(page.items) < page.total
            return page.items, _following(place, len(page.items), page.next, more=more)

        return _get(path, parsed(reader), limit=_MAX_LIMIT, **place, **filters)

    return Pages(page)


def _following(place: Place, found: int, cursor: str | None, *, more: bool) -> Place | None:
    """The place of the next page: by cursor, or by offset where the server gave none from the start."""
    if cursor is not None:
        return {"cursor": cursor}
    return {"offset": place.get("offset", 0) + found} if found and more and "cursor" not in place else None


def _file(photo: Photo) -> tuple[str, bytes, str]:
    """A part of a form. The server looks at bytes, not at names and types."""
    return "photo", read_photo(photo), "application/octet-stream"


def _picture(image_id: str, thumbnail: bool, receive: Receive[T]) -> Call[T]:
    return _get(f"v1/images/{_quoted(image_id)}", receive, size="thumb" if thumbnail else None)


def _get(path: str, receive: Receive[T], **params: Any) -> Call[T]:
    return Call(method="GET", path=path, options={"params": _flat(**params)}, receive=receive)


def _post(
    path: str,
    receive: Receive[T],
    body: Mapping[str, Any] | None = None,
    *,
    repeatable: bool = True,
    patient: bool = False,
) -> Call[T]:
    options = {} if body is None else {"content": written(body), "headers": JSON}
    return Call(method="POST", path=path, options=options, receive=receive, repeatable=repeatable, patient=patient)


def _delete(path: str) -> Call[None]:
    return Call(method="DELETE", path=path, receive=parsed(lambda _: None))


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _flat(**values: Any) -> dict[str, Any]:
    """Values as a form or a URL has them: names are parted by commas, all else that is no plain value is JSON."""

    def flat(value: Any) -> Any:
        if isinstance(value, str | int | float):
            return value
        return ",".join(value) if isinstance(value, list | tuple) else written(value)

    return {name: flat(value) for name, value in values.items() if value is not None and value != ()}


def _product(product_id: str) -> str:
    return f"v1/products/{_quoted(product_id)}"


def _job(job_id: str) -> str:
    return f"v1/jobs/{_quoted(job_id)}"


def _quoted(name: str) -> str:
    """One part of a path. The parts `.` and `..` would be taken for folders."""
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")
