"""Two rankings made into one."""

from collections.abc import Sequence
from dataclasses import dataclass

_K = 60  # how little the very first places stand out; 60 is the value of the paper, and hardly matters


@dataclass(frozen=True, slots=True)
class Fused:
    """A product with its places in the two rankings, from 1; None where it is not among them."""

    product_id: str
    by_vector: int | None
    by_words: int | None

    @property
    def vector_share(self) -> float:
        """The part of its score that it owes to the vectors, from 0 to 1."""
        return _worth(self.by_vector) / self.score

    @property
    def score(self) -> float:
        """What it is ranked by."""
        return _worth(self.by_vector) + _worth(self.by_words)


def fuse(by_vector: Sequence[str], by_words: Sequence[str]) -> list[Fused]:
    """Reciprocal rank fusion (Cormack, Clarke, Büttcher: SIGIR 2009): best first, and of equals the more similar.

    It needs no scale that cosines and the ranks of full text have in common.
    """
    vector_places = {product_id: place for place, product_id in enumerate(by_vector, 1)}
    word_places = {product_id: place for place, product_id in enumerate(by_words, 1)}
    fused = [
        Fused(product_id, vector_places.get(product_id), word_places.get(product_id))
        for product_id in vector_places | word_places
    ]
    return sorted(fused, key=lambda one: -one.score)  # stable: those of the vectors come first


def _worth(place: int | None) -> float:
    return 0.0 if place is None else 1 / (_K + place)
