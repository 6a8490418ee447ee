"""Whether another model finds other products: the same queries in two spaces, by their stored vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from seesame.db import comparison as rows
from seesame.db.comparison import Subject
from seesame.db.pool import Database
from seesame.db.spaces import meanwhile_changed
from seesame.errors import InvalidInput, SpaceConflict
from seesame.queries import MAX_LIMIT
from seesame.search import Search
from seesame.spaces import Spaces
from seesame.types import Hit, Space

MAX_QUERIES = 10_000

OnCompared = Callable[[int, int], None]
"""Called with how many queries are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What one product finds in the two spaces, best first; it is not among them itself."""

    subject: Subject
    old: tuple[Hit, ...]
    new: tuple[Hit, ...]

    @property
    def overlap(self) -> float:
        """The share of products that both find, from 0 to 1; 1 where neither finds any."""
        old, new = ({hit.product.product_id for hit in hits} for hits in (self.old, self.new))
        return len(old & new) / max(len(old), len(new)) if old or new else 1.0

    @property
    def same_first(self) -> bool:
        """Whether both find the same product first."""
        first, second = ([hit.product.product_id for hit in hits[:1]] for hits in (self.old, self.new))
        return first == second


class Agreement(NamedTuple):
    """How far two spaces agree: means over some queries, from 0 to 1."""

    queries: int
    overlap: float
    same_first: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two spaces, compared by the first `k` products of each query."""

    old: Space
    new: Space
    k: int
    queries: tuple[Compared, ...]

    def agreement(self) -> Agreement:
        """Over all queries."""
        return _agreement(self.queries)

    def by_category(self) -> dict[str | None, Agreement]:
        """Over the queries of each category, those that agree least first."""
        groups: dict[str | None, list[Compared]] = {}
        for compared in self.queries:
            groups.setdefault(compared.subject.category, []).append(compared)
        agreements = {category: _agreement(tuple(group)) for category, group in groups.items()}
        return dict(sorted(agreements.items(), key=lambda item: (item[1].overlap, item[0] or "")))


class Comparer:
    """Compares spaces. Reads what others search, and changes nothing."""

    def __init__(self, database: Database, spaces: Spaces, search: Search) -> None:
        self._database = database
        self._spaces = spaces
        self._search = search

    def run(
        self,
        name: str | None = None,
        *,
        queries: int = 200,
        k: int = 10,
        seed: int = 0,
        by_category: bool = True,
        on_compared: OnCompared = lambda done, total: None,  # noqa: ARG005 - nobody looks
    ) -> Comparison:
        """Compares a space (the one new candidate, without a name) with the one that answers.

        Raises:
            NotFound: no such space.
            SpaceConflict: it is the one that answers, or no product has a vector in both.
            InvalidInput: `queries` or `k` out of bounds.
        """
        if not 1 <= queries <= MAX_QUERIES:
            raise InvalidInput("queries", f"Between 1 and {MAX_QUERIES:,} queries.")
        if not 1 <= k <= MAX_LIMIT:
            raise InvalidInput("k", f"Between 1 and {MAX_LIMIT} products.")
        old, new = self._spaces.primary(), self._spaces.find(name)
        if old.key == new.key:
            raise SpaceConflict(f"{new.key} is the one that answers. Name one to compare it with.")
        with self._database.transaction(timeout_s=120) as connection, meanwhile_changed():
            subjects = rows.sample(connection, old, new, count=queries, seed=seed, by_category=by_category)
        if not subjects:
            raise SpaceConflict(f"No product has its vector both in {old.key} and in {new.key} yet.")
        compared = []
        for subject in subjects:
            compared.append(Compared(subject, self._found(old, subject, k), self._found(new, subject, k)))
            on_compared(len(compared), len(subjects))
        return Comparison(old, new, k, tuple(compared))

    def _found(self, space: Space, subject: Subject, k: int) -> tuple[Hit, ...]:
        return self._search.in_space(space, subject.product_id, subject.image_id, limit=k).hits


def _agreement(queries: tuple[Compared, ...]) -> Agreement:
    return Agreement(
        len(queries), fmean(query.overlap for query in queries), fmean(query.same_first for query in queries)
    )
