"""Which products of the catalogue a file does not name, and whether they may be deleted for it."""

from collections.abc import Iterable, Iterator

from seesame.errors import DeletionRefused
from seesame.records import Record, RecordError

MOST = 0.3  # of the catalogue


class Unnamed:
    """The products that were there when the import began and that no record has named so far."""

    def __init__(self, product_ids: set[str]) -> None:
        """`product_ids` are all of the catalogue; the set is taken over."""
        self.product_ids = product_ids
        self._total = len(product_ids)
        self._nameless = 0

    def following(self, records: Iterable[Record | RecordError]) -> Iterator[Record | RecordError]:
        """The records, each taken down as it passes. A line with an error names its product, too, where it is read."""
        for record in records:
            product_id = record.product.product_id if isinstance(record, Record) else record.product_id
            if product_id:
                self.product_ids.discard(product_id)
            else:
                self._nameless += 1
            yield record

    def check(self) -> None:
        """Lets those that are left be deleted.

        Raises:
            DeletionRefused: they are too many, or a line that could not be read may name some of them.
        """
        count = len(self.product_ids)
        if count and self._nameless:
            raise DeletionRefused(
                f"Lines that could not be read: {self._nameless:,}. They may name some of the {count:,} products that"
                " the others do not name. Nothing was deleted."
            )
        if count > MOST * self._total:
            raise DeletionRefused(
                f"{count:,} of {self._total:,} products are not named, more than {MOST:.0%}. Nothing was deleted."
            )
