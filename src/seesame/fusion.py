"""Two rankings made into one."""

from collections.abc import Mapping, Sequence
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


def fuse(by_vector: Sequence[str], by_words: Mapping[str, float]) -> list[Fused]:
    """Reciprocal rank fusion (Cormack, Clarke, Büttcher: SIGIR 2009): best first, and of equals the more similar.

    It needs no scale that cosines and the ranks of full text have in common. Many texts match words equally well; they
    share a place, as an order among them would say nothing and outweigh the vectors all the same.

    Args:
        by_vector: products, best first.
        by_words: how well each product matches, best first.
    """
    vector_places = {product_id: place for place, product_id in enumerate(by_vector, 1)}
    word_places = _shared_places(by_words)
    fused = [
        Fused(product_id, vector_places.get(product_id), word_places.get(product_id))
        for product_id in vector_places | word_places
    ]
    return sorted(fused, key=lambda one: -one.score)  # stable: those of the vectors come first


def _shared_places(ranks: Mapping[str, float]) -> dict[str, int]:
    first: dict[float, int] = {}
    return {product_id: first.setdefault(rank, place) for place, (product_id, rank) in enumerate(ranks.items(), 1)}


def _worth(place: int | None) -> float:
    return 0.0 if place is None else 1 / (_K + place)
