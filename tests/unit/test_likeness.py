"""What pairs of pictures are to each other, and how pairs become groups."""

from uuid import UUID

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from seesame.fingerprints import distances, fingerprint
from seesame.likeness import SAME, Likeness, Web
from seesame.types import DuplicateKind

A, B, C, D, E = (UUID(int=number) for number in range(5))
NEAR = Likeness(0.9375, 10)  # of numbers that single precision holds as they are
ALIKE = Likeness(0.90625, 60)


def _scene(seed: int) -> Image.Image:
    """A picture of soft shapes, each seed another one."""
    noise = np.random.default_rng(seed).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((400, 480), Image.Resampling.BICUBIC)


def _distance(one: Image.Image, other: Image.Image) -> int:
    return int(distances(fingerprint(one).bits, [fingerprint(other).bits])[0])


@pytest.mark.parametrize("seed", range(5))
def test_a_fingerprint_outlives_what_shops_do_to_pictures(seed: int) -> None:
    """Another size or brightness changes few of its 128 bits, a crop some; another picture, about half."""
    scene = _scene(seed)
    assert _distance(scene, scene) == 0
    assert _distance(scene, scene.resize((150, 180))) <= 6
    assert _distance(scene, ImageEnhance.Brightness(scene).enhance(0.85)) <= 12
    assert _distance(scene, scene.crop((8, 10, 392, 470))) <= 30
    assert 40 <= _distance(scene, _scene(seed + 100)) <= 90


def test_distances_are_told_for_each_of_several() -> None:
    """In their order, bit by bit."""
    one = bytes(16)
    others = [bytes(16), b"\x01" + bytes(15), b"\xff" * 16]
    assert distances(one, others).tolist() == [0, 1, 128]


@pytest.mark.parametrize(
    ("picture", "uniform"),
    [
        (Image.new("RGB", (300, 300), "white"), True),
        (Image.new("RGB", (1, 1), "teal"), True),
        (Image.fromarray(np.random.default_rng(0).integers(250, 256, (300, 300, 3), dtype=np.uint8)), True),
        (_scene(1), False),
    ],
)
def test_a_picture_of_one_colour_is_told(picture: Image.Image, uniform: bool) -> None:
    """Also one with a little grain; its bits say nothing."""
    found = fingerprint(picture)
    assert found.uniform == uniform
    assert len(found.bits) == 16


@pytest.mark.parametrize(
    ("similarity", "distance", "kind"),
    [
        (0.86, 22, "near"),
        (0.859, 0, None),
        (0.89, 23, None),
        (0.92, 44, "near"),
        (0.92, 45, "lookalike"),
        (0.9, 128, "lookalike"),
        (0.899, 128, None),
    ],
)
def test_bits_and_vectors_decide_together(similarity: float, distance: int, kind: str | None) -> None:
    """The more bits differ, the more similar the vectors must be."""
    assert Likeness(similarity, distance).kind == kind


def _told(web: Web) -> list[tuple[str, set[UUID], bool]]:
    return [(group.kind, set(group.members), group.covered) for group in web.groups()]


def test_copies_hang_together_and_each_kind_needs_a_pair_of_its_own() -> None:
    """A near group has the exact copies in it; what is only exact is no near group."""
    web = Web()
    web.add(A, B, "exact", SAME)
    web.add(B, C, "near", NEAR)
    web.add(D, E, "exact", SAME)
    assert _told(web) == [("exact", {A, B}, True), ("exact", {D, E}, False), ("near", {A, B, C}, False)]


def test_look_alikes_do_not_chain() -> None:
    """They are those of one picture; who looks like two is in both groups, and copies count as one."""
    web = Web()
    for one, other in ((A, B), (B, A), (B, C), (C, D), (D, E)):
        web.add(one, other, "lookalike", ALIKE)
    assert _told(web) == [("lookalike", {A, B, C}, False), ("lookalike", {C, D, E}, False)]
    web.add(A, C, "near", NEAR)
    copies, *alike = list(web.groups())
    assert set(copies.members) == {A, C}
    assert [set(group.members) for group in alike] == [{A, B, C, D}, {D, E}]
    assert alike[0].members == {A: NEAR, B: ALIKE, C: NEAR, D: ALIKE}


def test_a_member_is_shown_by_its_closest_pair() -> None:
    """A picture that is the same as one and near to another is the same; the order of the pairs does not matter."""
    pairs: list[tuple[UUID, UUID, DuplicateKind, Likeness]] = [
        (A, B, "exact", SAME),
        (B, C, "near", NEAR),
        (B, C, "near", Likeness(0.93, 12)),
        (C, D, "lookalike", ALIKE),
    ]
    for order in (pairs, pairs[::-1]):
        web = Web()
        for pair in order:
            web.add(*pair)
        exact, near, alike = web.groups()
        assert exact.members == {A: SAME, B: SAME}
        assert near.members == {A: SAME, B: SAME, C: NEAR}
        assert alike.members == {A: SAME, B: SAME, C: NEAR, D: ALIKE}
        assert {group.centre for group in (exact, near)} == {A}
