"""What some tests need beyond the installation. `SEESAME_TEST_REQUIRE` names what must not be missing."""

import os
from typing import NoReturn

import pytest


def require_or_skip(need: str, reason: str) -> NoReturn:
    """Skips the test, or fails it where `SEESAME_TEST_REQUIRE` (comma-separated, or `all`) demands the need."""
    required = os.environ.get("SEESAME_TEST_REQUIRE", "").split(",")
    if need in required or "all" in required:
        pytest.fail(f"{need} is required here: {reason}")
    pytest.skip(reason)


def environment(variable: str, need: str) -> str:
    """The value of an environment variable that a test depends on."""
    return os.environ.get(variable) or require_or_skip(need, f"{variable} is not set")
