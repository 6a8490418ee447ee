"""The reference in docs/ says what the code does."""

from pathlib import Path

import pytest

import licences
import make_reference

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", make_reference.REFERENCE)
def test_the_committed_reference_is_what_the_code_gives(name: str) -> None:
    """After a change, `python tools/make_reference.py` writes it anew."""
    assert make_reference.REFERENCE[name]() == (_ROOT / "docs" / name).read_text()


def test_every_dependency_has_a_licence_that_is_accepted() -> None:
    """Or is named, with what follows from it; and no exception is named that nothing needs."""
    refused = {name for name in licences.packages() if licences.refused(licences.licence(name))}
    assert refused == set(licences.EXCEPTIONS)


def test_a_licence_that_is_not_accepted_is_noticed() -> None:
    """Also beside one that is."""
    assert licences.refused("MIT AND (AGPL-3.0-or-later OR Apache-2.0)") == {"AGPL-3.0-or-later"}
