"""What the products can be filtered by, with counts: taken now and then, since they look at every product."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from seesame.answers import Facets
from seesame.db import catalogue, search
from seesame.db.filters import ATTRIBUTE
from seesame.db.pool import Database
from seesame.errors import DatabaseUnavailable
from seesame.freshness import kept_until
from seesame.types import Clause

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

COLUMNS = ("category", "brand")
_ATTRIBUTES = 3
_VALUES = 30  # of a field: more than one reads through, and a page is to stay light
_TIMEOUT_S = 2.0  # whoever searches rather does without counts
_FILTERS = 256  # whose counts are kept


class FacetCounts:
    """Counts by filter, each kept for a while. Thread-safe."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, tuple[object, float]] = OrderedDict()

    def fields(self) -> tuple[str, ...]:
        """Category, brand, and the attributes that most products have and that have few values."""
        no_attributes: tuple[str, ...] = ()
        return COLUMNS + self._counted("fields", self._attributes, no_attributes)

    def counts(self, clauses: tuple[Clause, ...] = ()) -> Facets:
        """The most frequent values of each field among the products that meet the clauses on the other fields."""
        fields = self.fields()
        none: Facets = {field: [] for field in fields}
        return self._counted((fields, clauses), lambda: self._count(fields, clauses), none)

    def _attributes(self) -> tuple[str, ...]:
        with self._database.transaction(timeout_s=_TIMEOUT_S) as connection:
            names = catalogue.common_attributes(connection, limit=_ATTRIBUTES, values=_VALUES)
        return tuple(ATTRIBUTE + name for name in names)

    def _count(self, fields: tuple[str, ...], clauses: tuple[Clause, ...]) -> Facets:
        with self._database.transaction(timeout_s=_TIMEOUT_S) as connection:
            return search.facets(connection, fields, clauses, limit=_VALUES)

    def _counted(self, key: object, count: Callable[[], _T], otherwise: _T) -> _T:
        """What was counted lately, or now; `otherwise` where that takes too long."""
        started = self._clock()
        with self._lock:
            known = self._kept.get(key)
        if known is not None and started < known[1]:
            return known[0]  # type: ignore[return-value]  # a key always has values of one type
        try:
            counted = count()
        except DatabaseUnavailable as error:
            _log.warning("Counts of fields are left out: %s", error)
            counted = otherwise
        ended = self._clock()
        with self._lock:
            self._kept[key] = counted, kept_until(started, ended)
            self._kept.move_to_end(key)
            if len(self._kept) > _FILTERS:
                self._kept.popitem(last=False)
        return counted
