"""Finds pictures that are the same, nearly the same, or alike in different products, and those that stand for many.

An update does what is left to do: fingerprints of pictures that have none, the neighbours of those whose vectors were
not compared yet, and, if there were any, the groups anew. Requests only read what the last update wrote.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID, uuid5

from seesame.catalogue import check_text
from seesame.db import duplicates as rows
from seesame.db import indexes, spaces
from seesame.db.duplicates import BEGIN, Alike, Grouped, Member, PlaceholderReason, Run, Uncompared
from seesame.db.neighbours import Key, Neighbour, Sought, nearest, nearest_by_comparing
from seesame.db.pool import Database
from seesame.db.spaces import meanwhile_changed
from seesame.errors import DatabaseError, ImageError, NotFound, SeesameError, StorageFull
from seesame.fingerprints import SIDE, distances, fingerprint
from seesame.images import decode
from seesame.likeness import FLOOR, KINDS, SAME, Group, Likeness, Web
from seesame.pictures import PictureStore
from seesame.types import DuplicateKind, Fingerprint, ProductImage, Space, Vectors, WorkItem

_log = logging.getLogger(__name__)

MAX_GROUPS: Final = 200
MAX_OFFSET: Final = 1_000_000
SHOWN: Final = 20
"""Pictures of a group that are shown, at most."""

_NAMESPACE = UUID("6f1b7f0e-6a0e-5c39-9d0b-5ee5a3e00002")
_NEIGHBOURS = 20
_PAGE = 500
_EXACT_PAGE = 8_192  # each reads all vectors once
_LONG_S = 300.0
_FIRST_S = 60.0

Step = Literal["pictures", "vectors"]
OnProgress = Callable[[Step, int, int], None]


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Pictures of different products that belong together; `members` are some of them, the most alike first."""

    group: Grouped
    placeholder: bool
    members: list[Member]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of groups, how many there are in all, and the run that they are from; None before the first."""

    groups: list[DuplicateGroup]
    total: int
    run: Run | None


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A picture that stands for many products or shows nothing."""

    image: ProductImage
    products: int
    reason: PlaceholderReason


class Duplicates:
    """Compares all pictures with each other, and tells what came of it."""

    def __init__(self, database: Database, pictures: PictureStore, *, placeholder_products: int) -> None:
        """`placeholder_products`: of how many a picture that is the same in all of them is a placeholder."""
        self._database = database
        self._pictures = pictures
        self._placeholder_products = placeholder_products

    def update(
        self,
        *,
        lanes: int = 1,
        stop: threading.Event | None = None,
        on_progress: OnProgress = lambda step, done, total: None,  # noqa: ARG005 - nobody looks
    ) -> bool:
        """Does what is left to do; False if another process is at it. May be cut short anywhere, and run again.

        Args:
            lanes: pictures, or comparisons, at a time.
            stop: ends it after the page at hand.
        """
        stop = stop or threading.Event()
        with rows.alone(self._database) as alone, ThreadPoolExecutor(lanes, "duplicates") as pool:
            if alone:
                self._read(pool, stop, on_progress)
                with meanwhile_changed():
                    self._compare(pool, lanes, stop, on_progress)
                if not stop.is_set():
                    self._group()
            return alone

    def keep(self, stop: threading.Event, *, every_s: float) -> None:
        """Updates now and then until `stop`; never, where `every_s` is 0."""
        pause_s = min(every_s, _FIRST_S)
        while every_s and not stop.wait(pause_s):
            try:
                self.update(stop=stop)
            except (DatabaseError, StorageFull) as error:
                _log.warning("Duplicates are looked for later: %s", error)
            pause_s = every_s

    def groups(
        self,
        kind: DuplicateKind | None = None,
        *,
        product_id: str | None = None,
        limit: int,
        offset: int = 0,
        shown: int | None = SHOWN,
    ) -> Found:
        """Groups, the closest kind first, in each the largest and most alike first.

        Args:
            kind: only these.
            product_id: only those with a picture of this product, which come first in them.
            shown: pictures of a group at most; None for all.

        Raises:
            InvalidInput: the id cannot be one.
        """
        if product_id is not None:
            check_text("product_id", product_id, 200)
        with self._database.transaction() as connection:
            run = rows.latest(connection)
            if run is None:
                return Found([], 0, None)
            kinds = KINDS if kind is None else (kind,)
            found, total = rows.groups(connection, run, kinds, product_id=product_id, limit=limit, offset=offset)
            ids = [group.group_id for group in found]
            members = rows.members(connection, run, ids, product_id=product_id, most=shown)
        return Found([DuplicateGroup(g, self._stands(g), members[g.group_id]) for g in found], total, run)

    def placeholders(
        self, *, at_least: int | None = None, limit: int, offset: int = 0
    ) -> tuple[list[Placeholder], int, Run | None]:
        """Pictures that are the same in `at_least` products, or of nearly one colour; and how many there are in all."""
        with self._database.transaction() as connection:
            run = rows.latest(connection)
            least = at_least or self._placeholder_products
            stands, total = rows.placeholders(connection, run, at_least=least, limit=limit, offset=offset)
            images = rows.images(connection, [stand.image_id for stand in stands])
        found = [Placeholder(images[s.image_id], s.products, s.reason) for s in stands if s.image_id in images]
        return found, total, run

    def finished_at(self) -> datetime | None:
        """When they were last looked for, to the end; None: never."""
        with self._database.transaction() as connection:
            run = rows.latest(connection)
        return None if run is None else run.finished_at

    def waiting(self) -> int:
        """How many pictures are not compared yet, most often for want of a vector."""
        with self._database.transaction() as connection:
            return rows.count_waiting(connection)

    def _stands(self, group: Grouped) -> bool:
        return group.kind != "lookalike" and group.products >= self._placeholder_products

    def _read(self, pool: ThreadPoolExecutor, stop: threading.Event, on_progress: OnProgress) -> None:
        """Fingerprints of the pictures that came before there were any."""
        with self._database.transaction() as connection:
            total = rows.count_unread(connection)
        if total:
            _log.info("Reading %d pictures that have no fingerprint", total)
        after, done = BEGIN, 0
        while not stop.is_set():
            with self._database.transaction(timeout_s=_LONG_S) as connection:
                page = rows.unread(connection, after, limit=_PAGE)
            if not page:
                return
            read = pool.map(self._fingerprint, page)
            found = [(i.product_id, i.image_id, f) for i, f in zip(page, read, strict=True) if f is not None]
            rows.write_fingerprints(self._database, found)
            after, done = (page[-1].product_id, page[-1].image_id), done + len(page)
            on_progress("pictures", done, max(done, total))

    def _fingerprint(self, item: WorkItem) -> Fingerprint | None:
        try:
            return fingerprint(decode(self._pictures.read(item.bytes_ref), shortest_side=SIDE))
        except (NotFound, ImageError, OSError) as error:
            reason = error.code if isinstance(error, SeesameError) else "picture_unreadable"
            _log.warning("Image %s of %s has no fingerprint: %s", item.image_id, item.product_id, reason)
            return None

    def _compare(self, pool: ThreadPoolExecutor, lanes: int, stop: threading.Event, on_progress: OnProgress) -> None:
        """Looks for the neighbours of pictures that were not compared yet."""
        space = self._space()
        with self._database.transaction(timeout_s=_LONG_S) as connection:
            total = rows.count_uncompared(connection, space)
            if total and not space.indexed and indexes.is_missing(connection, space):
                return  # the indexer builds it when all have their vectors
        if space.vector_type == "real[]":
            limit, lanes = _EXACT_PAGE, 1  # NumPy takes all cores by itself
        else:
            limit = _PAGE
        after: Key | None = BEGIN
        done = 0
        while after is not None and not stop.is_set():
            with self._database.transaction(timeout_s=_LONG_S) as connection:
                items, vectors, after = rows.uncompared(connection, space, after, limit=limit)
            if items:
                list(pool.map(lambda part: self._alike(space, *part), _parts(items, vectors, lanes)))
                done += len(items)
                on_progress("vectors", done, max(done, total))

    def _space(self) -> Space:
        """The fallback space: it is always there, and its similarities mean the same everywhere."""
        with self._database.transaction() as connection:
            return next(space for space in spaces.list_spaces(connection) if space.role == "fallback")

    def _alike(self, space: Space, items: Sequence[Uncompared], vectors: Vectors) -> None:
        """Finds what some pictures are alike to, and writes it. Pictures that show nothing are alike to none."""
        sought = _sought(items, vectors)
        search = nearest_by_comparing if space.vector_type == "real[]" else nearest
        with self._database.transaction(timeout_s=_LONG_S) as connection:
            neighbours = search(connection, space, list(sought.values()), limit=_NEIGHBOURS, floor=FLOOR)
            found = dict(zip(sought, neighbours, strict=True))
            looks = rows.looks(connection, list({(n.product_id, n.image_id) for many in neighbours for n in many}))
            written = [(item.key, _likenesses(item, found.get(item.sha256, []), looks)) for item in items]
            rows.write_alike(connection, space, written)

    def _group(self) -> None:
        """Makes the groups anew, if there is anything new."""
        web = Web()
        with self._database.transaction(timeout_s=_LONG_S) as connection:
            run = rows.latest(connection)
            if run is not None and not run.stale:
                return
            uniform = rows.uniform(connection)
            for one, *others in rows.equal(connection):
                for other in others:
                    web.add(one, other, "exact", SAME)
            for image in rows.alike(connection):
                for other, similarity, distance in zip(image.alike, image.similarities, image.distances, strict=True):
                    likeness = Likeness(similarity, distance)
                    if (kind := likeness.kind) is not None:
                        web.add(image.image_id, other, kind, likeness)
        rows.replace(self._database, _named(web, uniform))


def _sought(items: Sequence[Uncompared], vectors: Vectors) -> dict[bytes, Sought]:
    """One for all that are the same, by their digest: a picture that stands for thousands is looked for once a page."""
    sought: dict[bytes, Sought] = {}
    for item, vector in zip(items, vectors, strict=True):
        one = sought.get(item.sha256) or Sought(vector, item.sha256, item.product_id)
        if not item.uniform:
            sought[item.sha256] = one if one.product_id == item.product_id else one._replace(product_id=None)
    return sought


def _likenesses(item: Uncompared, neighbours: Sequence[Neighbour], looks: dict[UUID, bytes]) -> Alike:
    """Which neighbours are near to a picture or look like it."""
    others = [n for n in neighbours if n.image_id in looks and n.product_id != item.product_id]
    bits = distances(item.bits, [looks[n.image_id] for n in others]).tolist()
    likenesses = [(n.image_id, Likeness(n.similarity, distance)) for n, distance in zip(others, bits, strict=True)]
    kept = [(image_id, likeness) for image_id, likeness in likenesses if likeness.kind]
    return Alike(
        item.image_id, [i for i, _ in kept], [one.similarity for _, one in kept], [one.distance for _, one in kept]
    )


def _parts(items: Sequence[Uncompared], vectors: Vectors, count: int) -> list[tuple[Sequence[Uncompared], Vectors]]:
    size = -(-len(items) // count)
    return [(items[start : start + size], vectors[start : start + size]) for start in range(0, len(items), size)]


def _named(web: Web, uniform: set[UUID]) -> Iterator[tuple[UUID, Group]]:
    """The groups with their ids, which stay as long as the images that they are named after."""
    for group in web.groups():
        group.covered = group.covered or not uniform.isdisjoint(group.members)
        yield uuid5(_NAMESPACE, f"{group.kind}/{group.centre}"), group
