"""When two pictures are duplicates, and which pictures hang together.

How the limits were found: `python -m bench duplicates`, and docs/decisions/0018-duplicates.md.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from seesame.types import DuplicateKind

NEAR: Final = ((22, 0.86), (44, 0.92))
"""Bits that may differ, of 128, while the vectors are so similar: a crop changes many bits, but hardly what is seen."""

LOOKALIKE: Final = 0.9
"""Similarity from which two pictures look alike, whatever their bits say."""

FLOOR: Final = min(LOOKALIKE, *(similarity for _, similarity in NEAR))
"""Less similar pictures are not worth a look at their bits."""

KINDS: Final[tuple[DuplicateKind, ...]] = ("exact", "near", "lookalike")
"""From the closest to the widest."""


class Likeness(NamedTuple):
    """How alike two pictures are: the cosine of their vectors in the fallback space, and the bits that differ."""

    similarity: float
    distance: int

    @property
    def kind(self) -> DuplicateKind | None:
        """What pictures of different bytes are to each other; None where they are nothing."""
        if any(self.distance <= bits and self.similarity >= similarity for bits, similarity in NEAR):
            return "near"
        return "lookalike" if self.similarity >= LOOKALIKE else None


SAME: Final = Likeness(1.0, 0)


@dataclass(slots=True)
class Group:
    """Pictures that belong together, each with its likeness to another one of them."""

    kind: DuplicateKind
    centre: UUID
    members: dict[UUID, Likeness] = field(default_factory=dict)
    covered: bool = False  # it is a part of a near group


class _Pairs:
    """Pairs of images by their numbers, in 14 bytes each: a large catalogue has millions."""

    def __init__(self) -> None:
        self.ones = array("i")
        self.others = array("i")
        self.similarities = array("f")
        self.distances = array("h")

    def add(self, one: int, other: int, likeness: Likeness) -> None:
        self.ones.append(one)
        self.others.append(other)
        self.similarities.append(likeness.similarity)
        self.distances.append(likeness.distance)

    def __iter__(self) -> Iterator[tuple[int, int, Likeness]]:
        likenesses = map(Likeness, self.similarities, self.distances)
        return zip(self.ones, self.others, likenesses, strict=True)


class Web:
    """Pairs of pictures, and the groups that they make.

    Exact and near groups are what hangs together by such pairs; a near one has a pair that is no exact one. What only
    looks alike would hang together without end: there a group is a picture with those that look like it, where copies
    of a picture count as one, so a picture may be in several. The pictures with the most look-alikes come first, as
    long as some are in no group.
    """

    def __init__(self) -> None:
        self._numbers: dict[UUID, int] = {}
        self._ids: list[UUID] = []
        self._parents = array("i")
        self._closest: dict[int, Likeness] = {}  # to a picture that is the same or near
        self._pairs: dict[DuplicateKind, _Pairs] = {kind: _Pairs() for kind in KINDS}

    def add(self, one: UUID, other: UUID, kind: DuplicateKind, likeness: Likeness) -> None:
        """Takes a pair; the same one twice does nothing."""
        self._pairs[kind].add(self._number(one), self._number(other), likeness)

    def groups(self) -> Iterator[Group]:
        """All groups, once, the closest kind first."""
        exact = self._joined("exact")
        near = self._joined("near")
        within = {image_id for group in near for image_id in group.members}
        for group in exact:
            group.covered = not within.isdisjoint(group.members)
        yield from exact
        yield from near
        yield from self._around()

    def _number(self, image_id: UUID) -> int:
        number = self._numbers.setdefault(image_id, len(self._ids))
        if number == len(self._ids):
            self._ids.append(image_id)
            self._parents.append(number)
        return number

    def _joined(self, kind: DuplicateKind) -> list[Group]:
        for one, other, likeness in self._pairs[kind]:
            self._join(one, other)
            for image in (one, other):
                # Those of a closer kind were first, and stay.
                known = self._closest.get(image, likeness)
                self._closest[image] = known if known == SAME else max(known, likeness)
        roots = {self._root(one) for one in self._pairs[kind].ones}
        groups = {root: Group(kind, self._ids[root]) for root in roots}
        for image, likeness in self._closest.items():
            group = groups.get(self._root(image))
            if group is not None:
                group.members[self._ids[image]] = likeness
        return list(groups.values())

    def _around(self) -> Iterator[Group]:
        copies: dict[int, list[int]] = defaultdict(list)
        for image in self._closest:
            copies[self._root(image)].append(image)
        alike = self._alike()
        seen = np.zeros(len(self._ids), bool)
        for centre in alike.centres(self._ids):
            if seen[centre]:
                continue
            group = Group("lookalike", self._ids[centre])
            around = alike.around(centre)
            for root, likeness in [(centre, max(likeness for _, likeness in around)), *around]:
                seen[root] = True
                for image in copies.get(root, [root]):
                    group.members[self._ids[image]] = self._closest.get(image, likeness)
            yield group

    def _alike(self) -> "_Alike":
        """The pairs of look-alikes as pairs of copies that count as one, each both ways."""
        pairs = self._pairs["lookalike"]
        roots = np.array([self._root(number) for number in range(len(self._ids))], np.int32)
        ones, others = roots[np.asarray(pairs.ones)], roots[np.asarray(pairs.others)]
        two = np.concatenate([ones, others]), np.concatenate([others, ones])
        return _Alike.of(*two, np.tile(pairs.similarities, 2), np.tile(pairs.distances, 2))

    def _join(self, one: int, other: int) -> None:
        first, second = sorted((self._root(one), self._root(other)), key=self._ids.__getitem__)
        self._parents[second] = first

    def _root(self, image: int) -> int:
        """The first image of those that it is joined with."""
        parents = self._parents
        while (parent := parents[image]) != image:
            parents[image] = image = parents[parent]  # which halves the way for the next
        return image


@dataclass(frozen=True, slots=True)
class _Alike:
    """What looks like what, by numbers: those that look like one lie side by side."""

    ones: NDArray[np.int32]
    others: NDArray[np.int32]
    similarities: NDArray[np.float32]
    distances: NDArray[np.int16]

    @classmethod
    def of(cls, ones: NDArray[Any], others: NDArray[Any], *likeness: NDArray[Any]) -> "_Alike":
        """Of several pairs of the same two, the most alike; none of one with itself."""
        similarities, distances = likeness
        order = np.lexsort((-distances, -similarities, others, ones))
        order = order[ones[order] != others[order]]
        ones, others = ones[order], others[order]
        first = np.append(True, (np.diff(ones) != 0) | (np.diff(others) != 0))[: len(order)]
        order = order[first]
        return cls(ones[first], others[first], similarities[order], distances[order])

    def centres(self, ids: list[UUID]) -> list[int]:
        """Those that look like any, with the most first."""
        numbers, counts = np.unique(self.ones, return_counts=True)
        many = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        return sorted(many, key=lambda number: (-many[number], ids[number]))

    def around(self, centre: int) -> list[tuple[int, Likeness]]:
        """What looks like it."""
        part = slice(*np.searchsorted(self.ones, (centre, centre + 1)).tolist())
        likenesses = map(Likeness, self.similarities[part].tolist(), self.distances[part].tolist())
        return list(zip(self.others[part].tolist(), likenesses, strict=True))
