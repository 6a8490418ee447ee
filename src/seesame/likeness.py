"""When two pictures are duplicates, and which pictures hang together.

How the limits were found: `python -m bench duplicates`, and docs/decisions/0018-duplicates.md.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import permutations
from typing import Final, NamedTuple
from uuid import UUID

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


class Web:
    """Pairs of pictures, and the groups that they make.

    Exact and near groups are what hangs together by such pairs; a near one has a pair that is no exact one. What only
    looks alike would hang together without end: there a group is a picture with those that look like it, where copies
    of a picture count as one, so a picture may be in several. The pictures with the most look-alikes come first, as
    long as some are in no group.
    """

    def __init__(self) -> None:
        self._images: dict[UUID, UUID] = {}
        self._parents: dict[UUID, UUID] = {}
        self._closest: dict[UUID, Likeness] = {}  # to a picture that is the same or near
        self._pairs: dict[DuplicateKind, list[tuple[UUID, UUID, Likeness]]] = {kind: [] for kind in KINDS}

    def add(self, one: UUID, other: UUID, kind: DuplicateKind, likeness: Likeness) -> None:
        """Takes a pair; the same one twice does nothing."""
        images = self._images  # one object each, however many pairs name it
        self._pairs[kind].append((images.setdefault(one, one), images.setdefault(other, other), likeness))

    def groups(self) -> list[Group]:
        """All groups, the closest kind first."""
        exact = self._joined("exact")
        near = self._joined("near")
        within = {image_id for group in near for image_id in group.members}
        for group in exact:
            group.covered = not within.isdisjoint(group.members)
        return [*exact, *near, *self._around()]

    def _joined(self, kind: DuplicateKind) -> list[Group]:
        for one, other, likeness in self._pairs[kind]:
            self._join(one, other)
            for image_id in (one, other):
                # Those of a closer kind were first, and stay.
                known = self._closest.get(image_id, likeness)
                self._closest[image_id] = known if known == SAME else max(known, likeness)
        groups = {root: Group(kind, root) for root in {self._root(one) for one, _, _ in self._pairs[kind]}}
        for image_id, likeness in self._closest.items():
            group = groups.get(self._root(image_id))
            if group is not None:
                group.members[image_id] = likeness
        return list(groups.values())

    def _around(self) -> list[Group]:
        alike: dict[UUID, dict[UUID, Likeness]] = defaultdict(dict)
        for one, other, likeness in self._pairs["lookalike"]:
            for root, near in permutations({self._root(one), self._root(other)}, 2):
                alike[root][near] = max(likeness, alike[root].get(near, likeness))
        copies: dict[UUID, list[UUID]] = defaultdict(list)
        for image_id in self._closest:
            copies[self._root(image_id)].append(image_id)
        groups, seen = [], set[UUID]()
        for centre in sorted(alike, key=lambda root: (-len(alike[root]), root)):
            if centre in seen:
                continue
            group = Group("lookalike", centre)
            for root, likeness in [(centre, max(alike[centre].values())), *alike[centre].items()]:
                seen.add(root)
                for image_id in copies.get(root, [root]):
                    group.members[image_id] = self._closest.get(image_id, likeness)
            groups.append(group)
        return groups

    def _join(self, one: UUID, other: UUID) -> None:
        first, second = sorted((self._root(one), self._root(other)))
        self._parents[second] = first

    def _root(self, image_id: UUID) -> UUID:
        """The first image of those that it is joined with."""
        parents = self._parents
        while (parent := parents.setdefault(image_id, image_id)) != image_id:
            parents[image_id] = image_id = parents[parent]  # which halves the way for the next
        return image_id
